"""What the revisions of the schema run, and which of it only expands: what the release before can go on with. See decision record 0040."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final

from alembic.config import Config
from alembic.script import ScriptDirectory

from infra.postgres import migrate

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSIONS: Final = Path(migrate.__file__).with_name("migrations") / "versions"
_MARK: Final = re.compile(r"--\s*contract:\s*unused since (?P<release>\d+\.\d+\.\d+):\s*\S")
_EXPANDS: Final = re.compile(r"--\s*expand:\s*\S")
"""What a block of plpgsql runs can't be seen; who wrote it says why it only adds."""
_NAME: Final = r"(?:\"[^\"]+\"|[\w.]+)"
_CREATED: Final = re.compile(rf"CREATE TABLE (?:IF NOT EXISTS )?({_NAME})", re.IGNORECASE)
_OF_TABLE: Final = re.compile(
    rf"(?:ALTER TABLE(?: IF EXISTS)?(?: ONLY)?|INSERT INTO|UPDATE|DELETE FROM|COPY) ({_NAME})"
    rf"|CREATE (?:CONSTRAINT )?TRIGGER .*? ON ({_NAME})",
    re.IGNORECASE,
)
_INDEX: Final = re.compile(
    rf"CREATE (?:UNIQUE )?INDEX (?P<concurrently>CONCURRENTLY )?(?:IF NOT EXISTS )?(?:{_NAME} )?ON (?:ONLY )?(?P<table>{_NAME})",
    re.IGNORECASE,
)
_NEW_THING: Final = re.compile(
    r"CREATE (?:OR REPLACE )?(?:VIEW|MATERIALIZED VIEW|FUNCTION|PROCEDURE|SCHEMA|SEQUENCE|TYPE|DOMAIN|POLICY|STATISTICS) "
    r"|GRANT |COMMENT ON "
    r"|ALTER (?:FUNCTION|DEFAULT PRIVILEGES) |ALTER TABLE \S+ VALIDATE CONSTRAINT |DROP INDEX CONCURRENTLY IF EXISTS |SET (?:LOCAL )?\w+ ",
    re.IGNORECASE,
)
_ADDED: Final = re.compile(
    r"ADD (?:COLUMN )?(?:IF NOT EXISTS )?(?!CONSTRAINT\b|PRIMARY\b|UNIQUE\b|CHECK\b|FOREIGN\b|EXCLUDE\b)(.+)", re.IGNORECASE
)
_LOCKS_OR_REWRITES: Final = re.compile(
    r"\b(?:PRIMARY KEY|UNIQUE|REFERENCES|GENERATED|CHECK)\b|DEFAULT .*\b(?:clock_timestamp|gen_random_uuid|random|nextval|uuidv7) ?\(",
    re.IGNORECASE,
)


@dataclass
class Revision:
    """One revision after the frozen ones."""

    identifier: str
    statements: list[str]
    """As PostgreSQL gets them, each with the comments before it."""


@dataclass
class _Recorder:
    """Stands for ``alembic.op`` in a revision, which may run SQL and nothing else."""

    statements: list[str] = field(default_factory=list)

    def get_bind(self) -> _Recorder:
        return self

    def get_context(self) -> _Recorder:
        return self

    @contextmanager
    def autocommit_block(self) -> Iterator[None]:
        yield

    def exec_driver_sql(self, sql: str) -> None:
        self.statements += statements_of(sql.replace("%%", "%"))


def revisions_after(last_frozen: str) -> list[Revision]:
    """Revisions that were added since, the oldest first."""
    configuration = Config()
    configuration.set_main_option("script_location", str(VERSIONS.parent))
    scripts = ScriptDirectory.from_config(configuration)
    return [Revision(script.revision, _run(script.module)) for script in reversed(list(scripts.iterate_revisions("head", last_frozen)))]


def _run(module: ModuleType) -> list[str]:
    recorder = _Recorder()
    before = module.op
    module.op = recorder  # type: ignore[attr-defined]
    try:
        module.upgrade()
    finally:
        module.op = before  # type: ignore[attr-defined]
    return recorder.statements


def contractions(revision: Revision, *, version: str) -> list[str]:
    """What a revision does that the release before may not bear, and that no mark allows; a sentence for each.

    Args:
        revision: which.
        version: of the code; a mark names an earlier one, which has stopped using what goes.
    """
    own: set[str] = set()
    found = []
    for statement in revision.statements:
        plain = _plain(statement)
        own |= {name.lower() for name in _CREATED.findall(plain)}
        why = _why_not(plain, own)
        if why is None or (plain.upper().startswith("DO ") and _EXPANDS.search(statement)):
            continue
        mark = _MARK.search(statement)
        if mark is None:
            found.append(f"revision {revision.identifier}: {why}: {plain[:120]}")
        elif _number(mark["release"]) >= _number(version):
            found.append(f"revision {revision.identifier}: {mark['release']} is no release before {version}: {plain[:120]}")
    return found


def _why_not(plain: str, own: set[str]) -> str | None:
    """Why a statement is no expansion; None: it is one."""
    if _CREATED.match(plain) or _NEW_THING.match(plain):
        return None
    index, table = _INDEX.match(plain), _OF_TABLE.match(plain)
    if index is not None:
        is_free = index["table"].lower() in own or index["concurrently"]
        return None if is_free else "an index on a table that is in use is made CONCURRENTLY"
    if table is not None and (table[1] or table[2]).lower() in own:
        return None
    if not plain.upper().startswith("ALTER TABLE"):
        return "it is not known to be an expansion"
    return next((why for action in _actions(plain.split(maxsplit=3)[3]) if (why := _why_not_added(action)) is not None), None)


def _why_not_added(action: str) -> str | None:
    """Why an action of an ALTER TABLE does not just add a column."""
    added = _ADDED.fullmatch(action)
    if added is None:
        return "it changes what the release before uses"
    if _LOCKS_OR_REWRITES.search(added[1]):
        return "such a column locks or rewrites a table that is in use"
    if re.search(r"\bNOT NULL\b", added[1], re.IGNORECASE) and not re.search(r"\bDEFAULT\b", added[1], re.IGNORECASE):
        return "the release before writes no value into such a column"
    return None


def _actions(text: str) -> list[str]:
    """The actions of an ALTER TABLE: split at commas outside of parentheses."""
    found, depth, begin = [], 0, 0
    for place, letter in enumerate(text):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            found.append(text[begin:place].strip())
            begin = place + 1
    return [*found, text[begin:].strip()]


def statements_of(sql: str) -> list[str]:
    """SQL, split at the semicolons outside of quotes, dollar quotes and comments."""
    pattern = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|--[^\n]*|/\*.*?\*/|(\$\w*\$).*?\1|(;)", re.DOTALL)
    found, begin = [], 0
    for token in pattern.finditer(sql):
        if token[2]:
            found.append(sql[begin : token.start()].strip())
            begin = token.end()
    found.append(sql[begin:].strip())
    return [statement for statement in found if _plain(statement)]


def _plain(statement: str) -> str:
    """Without comments, on one line; what is quoted stays."""
    quoted = re.compile(r"('(?:[^']|'')*'|\"[^\"]*\"|(\$\w*\$).*?\2)|--[^\n]*|/\*.*?\*/", re.DOTALL)
    return " ".join(quoted.sub(lambda token: token[1] or " ", statement).split())


def _number(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split("."))
