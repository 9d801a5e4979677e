"""Measurements: always a ratio to something run in turn on the same servers, never a test."""
