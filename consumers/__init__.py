"""The downstream consumers, one module for each group."""
