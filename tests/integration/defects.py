"""A defect of the database's, which no retry mends: it refuses what the rules allow, so that a transfer parks."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import psycopg
from psycopg import sql

from tests.stack_fixtures import RunningStack


@contextmanager
def credits_are_refused(stack: RunningStack, of: Literal["account_id", "tenant"], value: str) -> Iterator[None]:
    """Every credit of one account, or of one tenant, breaks a constraint."""
    name = sql.Identifier(f"defect_{uuid.uuid4().hex[:12]}")
    with psycopg.connect(stack.postgres_dsn, autocommit=True) as connection:
        refusal = sql.SQL("ALTER TABLE offline_entry ADD CONSTRAINT {} CHECK ({} <> {}) NOT VALID")
        connection.execute(refusal.format(name, sql.Identifier(of), sql.Literal(value)))
        try:
            yield
        finally:
            connection.execute(sql.SQL("ALTER TABLE offline_entry DROP CONSTRAINT {}").format(name))
