"""Revisions only expand the schema, unless a statement says since which release nothing uses what goes; released ones never change."""

from __future__ import annotations

import hashlib
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.upgrade.revisions import VERSIONS, Revision, contractions, revisions_after, statements_of

_FROZEN = tomllib.loads(Path(__file__).with_name("frozen.toml").read_text())


def test_each_revision_after_the_frozen_ones_only_expands() -> None:
    added = revisions_after(_FROZEN["last_revision"])
    assert [line for revision in added for line in contractions(revision, version=version("casaflow"))] == []
    assert all(revision.statements for revision in added), "a revision runs its SQL by exec_driver_sql"


def test_frozen_revisions_are_as_they_were_released() -> None:
    now = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in VERSIONS.iterdir() if path.is_file()}
    assert {name: now.get(name) for name in _FROZEN["sha256"]} == _FROZEN["sha256"], "a database that has run it would not have the change"


EXPANDING = [
    "CREATE TABLE note (id bigint); CREATE INDEX note_by_id ON note (id); INSERT INTO note VALUES (1); ALTER TABLE note DROP id",
    "ALTER TABLE account ADD COLUMN colour text, ADD shape numeric(3, 1) NOT NULL DEFAULT 0",
    "CREATE INDEX CONCURRENTLY account_by_colour ON account (colour)",
    "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS $$ DROP TABLE account; SELECT 1; $$; GRANT SELECT ON note TO casaflow_app",
    "-- contract: unused since 0.0.9: nobody reads it\nALTER TABLE account DROP COLUMN kind",
    "-- expand: makes a role\nDO $$ BEGIN EXECUTE 'CREATE ROLE teller'; END $$",
]
CONTRACTING = [
    "ALTER TABLE account DROP COLUMN kind",
    "ALTER TABLE account ADD COLUMN colour text, DROP COLUMN kind",
    "ALTER TABLE account RENAME COLUMN kind TO sort",
    "ALTER TABLE account ALTER COLUMN kind TYPE varchar(10)",
    "ALTER TABLE account ALTER kind SET NOT NULL",
    "ALTER TABLE account ADD COLUMN colour text NOT NULL",
    "ALTER TABLE account ADD COLUMN colour uuid NOT NULL DEFAULT gen_random_uuid()",
    "ALTER TABLE account ADD COLUMN colour text UNIQUE",
    "ALTER TABLE account ADD CONSTRAINT coloured CHECK (kind <> '')",
    "CREATE INDEX account_by_kind ON account (kind)",
    "CREATE TRIGGER slow BEFORE INSERT ON account EXECUTE FUNCTION refuse_change()",
    "DROP TABLE account",
    "DROP VIEW account_balance",
    "DROP FUNCTION fold_tail",
    "REVOKE SELECT ON account FROM casaflow_app",
    "UPDATE account SET kind = 'current'",
    "DO $$ BEGIN EXECUTE 'DROP TABLE account'; END $$",
    "-- expand: it only adds\nDROP TABLE account",
    "-- contract: nobody reads it\nALTER TABLE account DROP COLUMN kind",
    "-- contract: unused since 99.0.0: nobody will read it\nALTER TABLE account DROP COLUMN kind",
]


@pytest.mark.parametrize("sql", EXPANDING)
def test_an_expansion_is_let_through(sql: str) -> None:
    assert contractions(Revision("test", statements_of(sql)), version="0.1.0") == []


@pytest.mark.parametrize("sql", CONTRACTING)
def test_what_the_release_before_would_not_bear_is_named(sql: str) -> None:
    (line,) = contractions(Revision("test", statements_of(sql)), version="0.1.0")
    assert line.startswith("revision test: ")


def test_statements_end_at_semicolons_outside_of_quotes_and_comments() -> None:
    sql = "SELECT ';' -- one; two\n; /* three; */ SELECT $x$ ; $$ ; $x$;\n-- nothing more"
    assert statements_of(sql) == ["SELECT ';' -- one; two", "/* three; */ SELECT $x$ ; $$ ; $x$"]
