"""Temporal: connection, data converter, search attributes."""
