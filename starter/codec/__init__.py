"""The codec server: it lets the Web UI and the `temporal` command show what Temporal stores encrypted, to those who may see it."""
