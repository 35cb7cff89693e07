"""Exchange rates of the European Central Bank: its daily file over HTTP, and its history from a wheel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.rates.ecb_daily import EcbDailyRates
from infra.rates.ecb_history import EcbHistoryRates

if TYPE_CHECKING:
    from infra.settings import Settings
    from ledger.ports import ExchangeRates

__all__ = ["EcbDailyRates", "EcbHistoryRates", "open_rates"]


def open_rates(settings: Settings) -> ExchangeRates:
    """The source of rates that the settings name.

    Raises:
        ValueError: the packaged history can't be read.
    """
    history = EcbHistoryRates()
    if settings.rates_source == "ecb-history":
        return history
    return EcbDailyRates(settings.rates_daily_url, history=history)
