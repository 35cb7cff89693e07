"""How a libpq URL reaches the driver."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from infra.postgres.database import driver_url


def _told(url: str) -> dict[str, Any]:
    """What psycopg is told."""
    dialect: Any = PGDialect_psycopg
    arguments, options = dialect().create_connect_args(driver_url(url))
    assert not arguments
    return dict(options)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (
            "postgresql://teller:p%40ss%2F1@db.bank.example:5433/bank?sslmode=verify-full",
            {"user": "teller", "password": "p@ss/1", "host": "db.bank.example", "port": "5433", "dbname": "bank", "sslmode": "verify-full"},
        ),
        (
            "postgresql://teller@one:5432,two:5433/bank?target_session_attrs=read-write",
            {"user": "teller", "host": "one,two", "port": "5432,5433", "dbname": "bank", "target_session_attrs": "read-write"},
        ),
        ("postgresql://one,two/bank", {"host": "one,two", "dbname": "bank"}),
        ("postgresql:///bank?host=one,two&port=5433", {"host": "one,two", "port": "5433,5433", "dbname": "bank"}),
        ("postgresql://[::1]:5433/bank", {"host": "::1", "port": "5433", "dbname": "bank"}),
        ("postgresql:///bank?host=/var/run/postgresql", {"host": "/var/run/postgresql", "dbname": "bank"}),
    ],
)
def test_the_driver_is_told_what_libpq_reads_in_the_url(url: str, told: dict[str, str]) -> None:
    assert {name: str(value) for name, value in _told(url).items() if value != ","} == told


def test_what_is_no_url_is_refused() -> None:
    with pytest.raises(psycopg.ProgrammingError):
        driver_url("mysql://teller@one/bank?")
