"""The courses of the API: types, queries, mutations and streams."""
