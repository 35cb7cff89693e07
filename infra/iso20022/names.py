"""Names that all messages have in common."""

from __future__ import annotations

from typing import Final

NAMESPACE: Final = "urn:iso:std:iso:20022:tech:xsd:"
"""Before a message's name, such as ``pain.001.001.09``."""
NOT_PROVIDED: Final = "NOTPROVIDED"
"""What stands where an identification is mandatory and there is none."""
