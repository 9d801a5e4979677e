"""Durable jobs: what was asked for, who runs it, how far it is, and how it ended."""
