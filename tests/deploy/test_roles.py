"""The roles that the Compose file makes are enough for the migration and for the application, and no more."""

from __future__ import annotations

import re
from collections.abc import Iterator

import psycopg
import pytest

from infra.postgres.database import Database
from infra.postgres.migrate import upgrade
from infra.postgres.privileges import ROLES
from tests.deploy.conftest import DEPLOY
from tests.stack_fixtures import RunningStack

pytestmark = pytest.mark.deploy

SCRIPT = DEPLOY / "compose" / "servers" / "postgres-roles.sql"
DATABASE = "casaflow_by_roles"


def _statements() -> list[str]:
    """As psql runs them, but for the roles that the stack's server has already, and in a database of the test's own."""
    text = re.sub(r"^(--|\\getenv).*$", "", SCRIPT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    text = re.sub(r":'\w+'", "'secret'", text).replace("DATABASE casaflow ", f"DATABASE {DATABASE} ")
    there = tuple(f"CREATE ROLE {role} " for role in ROLES)
    return [each.strip() for each in text.split(";") if each.strip() and not each.strip().startswith(there)]


@pytest.fixture(scope="module")
def server(stack: RunningStack) -> Iterator[str]:
    """Where the database is, without whoever logs in."""
    with psycopg.connect(stack.postgres_dsn, autocommit=True) as superuser:
        for statement in _statements():
            superuser.execute(statement.encode())
    try:
        yield stack.postgres_dsn.rpartition("@")[2].rpartition("/")[0]
    finally:
        with psycopg.connect(stack.postgres_dsn, autocommit=True) as superuser:
            superuser.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")
            superuser.execute("DROP ROLE casaflow_owner, casaflow_teller")


async def test_the_owner_migrates_and_the_application_can_not_touch_what_was_posted(server: str) -> None:
    owner, teller = (f"postgresql://casaflow_{name}:secret@{server}/{DATABASE}" for name in ("owner", "teller"))
    upgrade(owner)
    for role in ROLES:
        database = Database.open(teller, pool_size=1, role=role)
        try:
            await database.ping()
        finally:
            await database.close()
    with psycopg.connect(teller, autocommit=True) as connection:
        assert connection.execute("SELECT count(*) FROM account").fetchone() == (0,)
        for forbidden in (
            "UPDATE offline_entry SET amount = amount", "DELETE FROM transaction", "SET ROLE casaflow_owner", "CREATE TABLE mine ()",
        ):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(forbidden.encode())
