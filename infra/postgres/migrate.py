"""Brings a database to the newest revision, beside processes that go on with it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, pool, text
from sqlalchemy.exc import OperationalError

from infra.postgres.database import driver_url

if TYPE_CHECKING:
    from sqlalchemy import Connection

_MIGRATIONS: Final = Path(__file__).with_name("migrations")
_LOCK_KEY: Final = 6_021_023
"""Advisory lock that lets one process migrate at a time; an arbitrary number, the same in every version."""
_LOCK_TIMEOUT: Final = "2s"
"""How long a statement waits for a table: whoever needs the table after it waits behind it, so that postings stand still for as long."""
_PATIENCE_SECONDS: Final = 300.0
"""How long a revision that found no moment for its lock is tried again."""
_PAUSE_SECONDS: Final = 1.0
_LOCK_NOT_AVAILABLE: Final = "55P03"


def upgrade(dsn: str, revision: str = "head") -> None:
    """Run all revisions that the database lacks, each whole or not at all. Safe to repeat, and when several processes do it at once.

    Args:
        dsn: libpq URL of the database, with a role that may create tables.
        revision: the last one to run; the newest unless given.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the server can't be reached, or refuses a revision; or somebody holds a lock for minutes.
    """
    configuration = Config()
    configuration.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    engine = create_engine(driver_url(dsn), poolclass=pool.NullPool)
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK_KEY})
            # After that lock, for which a process that is second waits as long as it takes.
            connection.execute(text("SELECT set_config('lock_timeout', :seconds, false)"), {"seconds": _LOCK_TIMEOUT})
            connection.commit()
            configuration.attributes["connection"] = connection
            _run(configuration, revision, connection)
            connection.commit()
    finally:
        engine.dispose()


def _run(configuration: Config, revision: str, connection: Connection) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            command.upgrade(configuration, revision)
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE or time.monotonic() > deadline:
                raise
            # What was before it is committed, each revision by itself. Those who waited behind it get their turn first.
            connection.rollback()
            time.sleep(_PAUSE_SECONDS)
        else:
            return
