"""GraphQL without a transport: documents, limits, operations."""
