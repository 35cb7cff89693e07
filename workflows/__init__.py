"""The story of a transaction, as Temporal workflows."""
