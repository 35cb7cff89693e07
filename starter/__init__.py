"""What people touch: the HTTP API, the command line, and the one way to start a transaction."""
