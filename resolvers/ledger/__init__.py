"""The ledger of the API: types, queries, mutations and streams."""
