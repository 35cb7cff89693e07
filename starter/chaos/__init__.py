"""`casaflow chaos`: kills, freezes and restarts the parts of a test system under load, and proves what became of the money.

See ``docs/decisions/0039-chaos.md``.
"""
