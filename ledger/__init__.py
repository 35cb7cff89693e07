"""The rules of current and savings accounts, pure: no clock, no randomness, no input or output.

Time, ids and exchange rates come in as arguments. Nothing here imports another casaflow package, so the same code decides
inside a Temporal workflow, inside a database transaction, and in a test.
"""
