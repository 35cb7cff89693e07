"""Write the pages of `docs/reference` anew: ``python -m tests.contract.reference``."""

from __future__ import annotations

from tests.contract.reference.record import write

write()
