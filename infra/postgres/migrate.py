"""Brings a database to the newest revision."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, pool, text

from infra.postgres.database import driver_url

_MIGRATIONS: Final = Path(__file__).with_name("migrations")
_LOCK_KEY: Final = 6_021_023
"""Advisory lock that lets one process migrate at a time; an arbitrary number, the same in every version."""


def upgrade(dsn: str, revision: str = "head") -> None:
    """Run all revisions that the database lacks. Safe to repeat, and when several processes do it at once.

    Args:
        dsn: libpq URL of the database, with a role that may create tables.
        revision: the last one to run; the newest unless given.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the server can't be reached, or refuses a revision.
    """
    configuration = Config()
    configuration.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    engine = create_engine(driver_url(dsn), poolclass=pool.NullPool)
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK_KEY})
            connection.commit()
            configuration.attributes["connection"] = connection
            command.upgrade(configuration, revision)
            connection.commit()
    finally:
        engine.dispose()
