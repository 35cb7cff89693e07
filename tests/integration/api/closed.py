"""A closed statement of a month that has passed, for as long as a test looks at it: the ledger has no entries of then."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psycopg

from tests.stack_fixtures import RunningStack

_LINES = """
    INSERT INTO statement.line (tenant, account_id, booked_at, transaction_id, leg, event_id, currency, direction, amount, value_date)
    SELECT %(tenant)s, %(account)s, CAST('2026-01-10T12:00:00Z' AS timestamptz) + n * interval '1 day', gen_random_uuid(), 'credit',
           gen_random_uuid(), 'EUR', 'credit', 100 + n, DATE '2026-01-10'
      FROM generate_series(0, 2) AS n
"""
_CLOSED = """
    INSERT INTO statement.closed (tenant, account_id, number, currency, since, until_at, opening_balance, credited, debited,
                                  closing_balance, lines)
    VALUES (%(tenant)s, %(account)s, 1, 'EUR', '2026-01-01T00:00:00Z', '2026-02-01T00:00:00Z', 0, 303, 0, 303, 3)
"""
_AWAY = (
    "SET session_replication_role = replica",
    "DELETE FROM statement.line WHERE tenant = %(tenant)s AND account_id = %(account)s AND booked_at < '2026-02-01T00:00:00Z'",
    "DELETE FROM statement.closed WHERE tenant = %(tenant)s AND account_id = %(account)s",
)


@contextlib.contextmanager
def closed_statement(stack: RunningStack, tenant: str, account: str) -> Iterator[None]:
    """Three lines of 1.00, 1.01 and 1.02 EUR in January 2026, closed as number 1."""
    with psycopg.connect(stack.postgres_dsn, autocommit=True) as connection:
        try:
            for statement in (_LINES, _CLOSED):
                connection.execute(statement, {"tenant": tenant, "account": account})
            yield
        finally:
            # `casaflow check` would say, and rightly, that the ledger knows nothing of them.
            connection.execute(_AWAY[0])
            for statement in _AWAY[1:]:
                connection.execute(statement, {"tenant": tenant, "account": account})
