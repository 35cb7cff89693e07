"""Whether a text is an international bank account number, or a bank's identifier. Pure."""

from __future__ import annotations

import re
from typing import Final

_SHAPE: Final = re.compile(r"[A-Z]{2}[0-9]{2}[A-Za-z0-9]{11,30}", re.ASCII)
_BIC: Final = re.compile(r"[A-Z0-9]{4}[A-Z]{2}[A-Z0-9]{2}(?:[A-Z0-9]{3})?", re.ASCII)
_MODULUS: Final = 97
_DIGITS: Final = {ord(letter): str(value) for value, letter in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZ", start=10)}


def is_iban(text: str) -> bool:
    """Whether `text` is an IBAN in its electronic form, without spaces: its shape and its check digits (ISO 13616-1, ISO 7064 MOD 97-10).

    Each country's own length and digits aren't looked at.
    """
    if not _SHAPE.fullmatch(text):
        return False
    return int(f"{text[4:]}{text[:4]}".upper().translate(_DIGITS)) % _MODULUS == 1


def is_bic(text: str) -> bool:
    """Whether `text` has the form of a business identifier code (ISO 9362), of 8 or 11 characters."""
    return _BIC.fullmatch(text) is not None
