"""The accounts of the API: types, queries, mutations and streams."""
