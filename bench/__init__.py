"""Benchmarks that run both sides in one run, and print ratios."""
