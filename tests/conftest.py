"""What every test may use. Servers come from `tests/integration/conftest.py`; unit and workflow tests start none of them."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("ci", deadline=None, print_blob=True)
settings.register_profile("default", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "default")

pytest_plugins = ["tests.side_by_side", "tests.stack_fixtures"]
