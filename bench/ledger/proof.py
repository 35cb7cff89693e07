"""After each round: did every side keep its money? A side that loses some would be fast for nothing."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

import psycopg

from bench.ledger import batched_row, one_by_one
from bench.ledger.loads import FUNDS
from bench.ledger.preparing import CREDIT_MINOR_UNITS
from bench.ledger.server import BenchError

if TYPE_CHECKING:
    from collections.abc import Sequence

_BALANCE_ROW: Final = """
    SELECT (SELECT coalesce(sum(balance - %(funds)s), 0) FROM {schema}.balance),
           (SELECT coalesce(sum(amount), 0) FROM {schema}.offline_entry) - (SELECT coalesce(sum(amount), 0) FROM {schema}.online_entry)
"""
_CASAFLOW: Final = """
    SELECT (SELECT sum(ledger) FROM account_balance) + (SELECT sum(amount) FROM gl_entry), CAST(%(loaded)s AS numeric)
"""


def check_money(url: str, credits_before: Sequence[int]) -> None:
    """Compare balances with entries on each side that posts from this process.

    Args:
        url: the round's database.
        credits_before: as it was prepared with.

    Raises:
        BenchError: they differ.
    """
    # The credits that were loaded straight into the table are the only ones without an internal side.
    loaded = CREDIT_MINOR_UNITS * sum(credits_before)
    checks = {schema: _BALANCE_ROW.replace("{schema}", schema) for schema in (one_by_one.SCHEMA, batched_row.SCHEMA)}
    with psycopg.connect(url) as connection:
        for side, query in {**checks, "casaflow": _CASAFLOW}.items():
            sums = connection.execute(query.encode(), {"funds": FUNDS, "loaded": loaded}).fetchone()
            if sums is None or Decimal(sums[0]) != Decimal(sums[1]):
                message = f"{side}: balances and entries differ: {sums}"
                raise BenchError(message)
