"""The plans of the API: types, queries, mutations and streams."""
