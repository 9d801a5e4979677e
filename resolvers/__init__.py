"""GraphQL: shape in, shape out. No rule and no SQL lives here."""
