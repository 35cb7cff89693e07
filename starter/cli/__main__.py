"""``python -m starter.cli``."""

from starter.cli.main import main

main()
