"""Benchmarks that run both sides in one run, and print ratios. They come with the source checkout, not with the wheel."""
