"""Bands: within which powers of ten money lies, in major units. Enough to tell the large from the small, and not the amount itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ledger.money import Money

BAND_LIMITS: Final = (100, 1_000, 10_000, 100_000, 1_000_000)
"""In major units, whatever the currency."""
OVERDRAWN: Final = "overdrawn"
"""The band of every balance below zero."""


def amount_band(amount: Money) -> str:
    """The band that an amount is in: ``100-1000`` from 100 to below 1,000; the last one is ``1000000+``."""
    lower = 0
    for limit in BAND_LIMITS:
        if amount.decimal < limit:
            return f"{lower}-{limit}"
        lower = limit
    return f"{lower}+"


def balance_band(balance: Money) -> str:
    """The band that a balance is in: :data:`OVERDRAWN` below zero, else that of the amount."""
    return OVERDRAWN if balance.minor_units < 0 else amount_band(balance)
