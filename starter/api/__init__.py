"""The HTTP API. ``python -m starter.api`` serves it."""
