"""The services that workflows call; each gets its port in ``__init__``."""
