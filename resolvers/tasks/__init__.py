"""The tasks of the API: types, queries, mutations and streams."""
