"""A base backup and the archive of the WAL, restored to a point before the last publications: what is lost is named, and made up for."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, LiteralString

import httpx
import psycopg
import pytest
from psycopg import sql

from infra.stack.model import StackHome
from infra.stack.postgres import EmbeddedPostgres
from tests.integration.defects import credits_are_refused
from tests.integration.stack.conftest import Home, call, wait_until
from tests.stack_fixtures import RunningStack

pytestmark = pytest.mark.slow

SAGA = {"CASAFLOW_TRANSFERS": "saga"}
"""A debit is posted before its credit, so that a workflow may stand between the two."""
_PROGRAM_SECONDS = 300
_RESTORE_POINT = "before-what-is-lost"


@dataclass
class Backup:
    """Base backup and archive of one home's PostgreSQL, by PostgreSQL's own programs."""

    home: Home
    folder: Path
    server: EmbeddedPostgres = field(init=False)

    def __post_init__(self) -> None:
        self.server = EmbeddedPostgres(StackHome(self.home.path))
        for name in ("base", "archive"):
            (self.folder / name).mkdir(parents=True)
            self._give(self.folder / name)

    def archive(self) -> None:
        """Have the server archive its WAL; it has to be started anew."""
        archive = self.folder / "archive"
        with psycopg.connect(self.home.stack()["postgres_dsn"], autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET archive_mode = 'on'")
            connection.execute(f'ALTER SYSTEM SET archive_command = \'test ! -f "{archive}/%f" && cp "%p" "{archive}/%f"\'')

    def take(self) -> None:
        self._run(
            "pg_basebackup", "--pgdata", str(self.folder / "base"), "--checkpoint=fast", "--dbname", self.home.stack()["postgres_dsn"]
        )
        self._run("pg_verifybackup", str(self.folder / "base"))

    def restore(self, to: str) -> None:
        """Put the base backup in place of the data, to be recovered up to a restore point."""
        data = self.server._data_folder()
        shutil.rmtree(data)
        shutil.copytree(self.folder / "base", data)
        data.chmod(0o700)
        with (data / "postgresql.auto.conf").open("a") as settings:
            settings.write(f'restore_command = \'cp "{self.folder}/archive/%f" "%p"\'\n')
            settings.write(f"recovery_target_name = '{to}'\nrecovery_target_action = 'promote'\n")
        (data / "recovery.signal").touch()
        for path in (data, *data.rglob("*")):
            self._give(path)

    def _give(self, path: Path) -> None:
        owner = self.server._owner
        if owner is not None:
            os.chown(path, owner.uid, owner.gid)

    def _run(self, program: str, *arguments: str) -> None:
        owner = self.server._owner
        done = subprocess.run(
            [str(self.server._binaries() / program), *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            timeout=_PROGRAM_SECONDS, cwd="/", user=owner.uid if owner else None, group=owner.gid if owner else None,
            extra_groups=[] if owner else None,
        )  # fmt: skip
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    opened = Home(tmp_path / ".casaflow", dict(SAGA))
    try:
        yield opened
    finally:
        opened.remove()


@pytest.fixture
def backup(home: Home) -> Iterator[Backup]:
    # Where the server's user can write, whoever runs the tests.
    folder = Path("/var/tmp") / f"casaflow-backup-{uuid.uuid4().hex[:12]}"  # noqa: S108  removed below
    folder.mkdir()
    folder.chmod(0o755)
    try:
        yield Backup(home, folder)
    finally:
        shutil.rmtree(folder)


def _submit(stack: dict[str, Any], **body: str) -> dict[str, Any]:
    return call(stack, "POST", "/v1/transactions", {"transaction_id": str(uuid.uuid4()), "currency": "EUR", **body})


def _again(stack: dict[str, Any], body: dict[str, str]) -> dict[str, Any]:
    return call(stack, "POST", "/v1/transactions", body)


def _select(home: Home, statement: LiteralString | sql.Composed, *values: object) -> list[Any]:
    with psycopg.connect(home.stack()["postgres_dsn"], autocommit=True) as connection:
        return [row[0] for row in connection.execute(statement, values)]


def _on_their_way(home: Home) -> int:
    """Events that are not published, or that a group has not applied."""
    statement: LiteralString = """
        SELECT count(*) FROM event_outbox o
         WHERE o.published_at IS NULL
            OR NOT EXISTS (SELECT FROM audit.record r WHERE r.event_id = o.event_id)
            OR NOT EXISTS (SELECT FROM mis.applied_event a WHERE a.event_id = o.event_id)
            OR (o.topic = 'casa.balance-updated' AND NOT EXISTS (SELECT FROM statement.applied_event a WHERE a.event_id = o.event_id))
            OR (o.topic <> 'casa.balance-updated' AND NOT EXISTS (SELECT FROM notification.applied_event a WHERE a.event_id = o.event_id))
    """
    return int(_select(home, statement)[0])


def _events(home: Home, transactions: list[str]) -> list[str]:
    statement: LiteralString = "SELECT CAST(event_id AS text) FROM event_outbox WHERE transaction_id = ANY (CAST(%s AS uuid[])) ORDER BY 1"
    return _select(home, statement, transactions)


def _report(home: Home, *arguments: str, code: int) -> dict[str, Any]:
    done = home.casaflow("restored", "--json", *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def _check(home: Home) -> None:
    done = home.casaflow("check")
    assert done.returncode == 0, done.stdout + done.stderr


@dataclass(frozen=True)
class Told:
    """What the ledger will lose after it was told."""

    bodies: list[dict[str, str]]
    """Of transactions that end."""
    outcomes: dict[str, str]
    standing: dict[str, str]
    """One that stands between its legs."""
    hold: dict[str, str]
    file: Path
    file_id: str
    lines: list[str]
    """Of the file: transactions without workflows of their own."""
    events: list[str]
    """Ids of the events of all transactions."""

    @property
    def transactions(self) -> list[str]:
        return [*self.outcomes, self.standing["transaction_id"], *self.lines]

    @property
    def with_runs(self) -> set[str]:
        """What a workflow of its own has carried, or carries."""
        return {*self.outcomes, self.standing["transaction_id"], self.hold["hold_id"], self.file_id}


def test_what_was_published_and_lost_by_a_restore_is_named_and_the_same_ids_posted_again_have_the_same_events(
    home: Home, backup: Backup
) -> None:
    home.up()
    backup.archive()
    home.down()
    home.up()
    stack = home.stack()
    for account in ("A", "B", "C"):
        call(stack, "POST", "/v1/accounts", {"account_id": account, "currency": "EUR"})
        assert _submit(stack, creditor=account, amount="100.00")["status"] == "completed"
    backup.take()
    for number in range(10):
        assert _submit(stack, debtor="A", creditor="B", amount=f"1.{number:02}")["status"] == "completed"
    wait_until(lambda: _on_their_way(home) == 0, "all groups have come to the end")
    # Published and kept, but no group has applied it at the restore point.
    os.kill(home.pids()["consumers"], signal.SIGSTOP)
    kept = [_submit(stack, debtor="B", creditor="C", amount="2.00")["transaction_id"] for _ in range(5)]
    wait_until(lambda: _select(home, "SELECT count(*) FROM event_outbox WHERE published_at IS NULL") == [0], "all is published")
    _select(home, "SELECT CAST(pg_create_restore_point(%s) AS text)", _RESTORE_POINT)
    os.kill(home.pids()["consumers"], signal.SIGCONT)
    told = _tell(home)
    _select(home, "SELECT CAST(pg_switch_wal() AS text)")
    home.down()

    backup.restore(_RESTORE_POINT)
    servers = home.casaflow("up", "--detach", "--servers-only")
    assert servers.returncode == 0, servers.stdout + servers.stderr
    assert "nothing to do" in home.casaflow("refold").stdout, "a restored cluster keeps its identifier and its transaction ids"
    assert set(_select(home, "SELECT CAST(transaction_id AS text) FROM transaction")) & {*kept, *told.transactions} == set(kept)
    _assert_named(_report(home, code=1), told)
    shown = home.casaflow("restored")
    assert shown.returncode == 1, shown.stdout + shown.stderr
    assert [one for one in (*told.transactions, *told.with_runs, *told.events) if one not in shown.stdout] == []
    assert "`casaflow restored --go-on`" in shown.stdout
    report = _report(home, "--go-on", code=1)
    assert report["done"]["runs_removed"] == len(told.with_runs)
    assert report["done"]["events_again"] == len(_events(home, kept))
    assert _report(home, code=0)["lost"] == []
    again = {item["identifier"] for item in _report(home, "--since", "2000-01-01T00:00:00Z", code=1)["lost"]}
    assert again == {*told.transactions, told.hold["hold_id"]}, "the workflows are gone"
    home.down()

    home.up()
    stack = home.stack()
    _check(home)
    for body in told.bodies:
        assert _again(stack, body)["status"] == told.outcomes[body["transaction_id"]]
    assert _again(stack, told.standing)["status"] == "completed"
    assert call(stack, "POST", "/v1/holds", told.hold)["status"] == "open"
    assert _hand_in(home, told.file)["completed"] == len(told.lines)
    assert set(_events(home, told.transactions)) >= set(told.events), "the same ids have the same events"
    _check(home)
    for group in ("statement", "mis", "notification"):
        once = sql.SQL("SELECT count(*) - count(DISTINCT event_id) FROM {}.applied_event").format(sql.Identifier(group))
        assert _select(home, once) == [0]


def _tell(home: Home) -> Told:
    """Completed, rejected, a hold, and one that stands between its legs; all published, and applied by all groups."""
    stack = home.stack()
    amounts = [("C", f"3.{number:02}") for number in range(8)] + [("B", "9999.00")]
    bodies = [
        {"transaction_id": str(uuid.uuid4()), "debtor": "A", "creditor": creditor, "amount": amount, "currency": "EUR"}
        for creditor, amount in amounts
    ]
    outcomes = {body["transaction_id"]: _again(stack, body)["status"] for body in bodies}
    assert list(outcomes.values()) == ["completed"] * 8 + ["rejected"]
    hold = {"hold_id": str(uuid.uuid4()), "account_id": "C", "amount": "5.00", "currency": "EUR", "expires_at": "2100-01-01T00:00:00Z"}
    call(stack, "POST", "/v1/holds", hold)
    standing = {"transaction_id": str(uuid.uuid4()), "debtor": "A", "creditor": "B", "amount": "4.00", "currency": "EUR"}
    with credits_are_refused(_running(stack), "account_id", "B"):
        _begin(stack, standing)
        path = f"/v1/transactions/{standing['transaction_id']}"
        wait_until(lambda: call(stack, "GET", path)["status"] == "parked", "it is parked")
    lines = [str(uuid.uuid4()) for _ in range(2)]
    file = home.path.parent / "payroll.csv"
    rows = [f"C,B,0.0{number},EUR,{line}" for number, line in enumerate(lines, start=1)]
    file.write_text("\n".join(["debtor,creditor,amount,currency,transaction_id", *rows]) + "\n")
    file_id = _hand_in(home, file)["file_id"]
    wait_until(lambda: _on_their_way(home) == 0, "the groups have applied what will be lost")
    events = _events(home, [*outcomes, standing["transaction_id"], *lines])
    return Told(bodies, outcomes, standing, hold, file, file_id, lines, events)


def _hand_in(home: Home, file: Path) -> dict[str, Any]:
    done = home.casaflow("submit", str(file), "--as-file", "--wait", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def _assert_named(report: dict[str, Any], told: Told) -> None:
    lost = {item["identifier"]: item for item in report["lost"]}
    hold_id, standing_id = told.hold["hold_id"], told.standing["transaction_id"]
    assert set(lost) == {*told.transactions, hold_id, told.file_id}
    assert {one: lost[one]["told"] for one in told.outcomes} == told.outcomes
    first = lost[told.bodies[0]["transaction_id"]]
    assert (first["kind"], first["debtor"], first["creditor"], first["amount"]) == ("transaction", "A", "C", "3.00 EUR")
    moved = [(event["account_id"], event["amount"]) for event in first["events"] if event["account_id"]]
    assert sorted(moved) == [("A", "3.00 EUR"), ("C", "3.00 EUR")]
    runs = {one: item["run"]["status"] for one, item in lost.items() if item["run"] is not None}
    assert runs == dict.fromkeys([*told.outcomes, told.file_id], "completed") | {standing_id: "running", hold_id: "running"}
    assert lost[told.file_id]["kind"] == "file"
    assert sorted(event["event_id"] for one in told.transactions for event in lost[one]["events"]) == told.events


def _begin(stack: dict[str, Any], body: dict[str, str]) -> None:
    """Submit without waiting for the outcome."""
    headers = {"Authorization": f"Bearer {stack['api_key']}"}
    answer = httpx.post(f"{stack['api']}/v1/transactions", json=body, headers=headers, timeout=30, trust_env=False)
    assert answer.is_success, answer.text


def _running(stack: dict[str, Any]) -> RunningStack:
    known = {name: stack[name] for name in RunningStack.__dataclass_fields__ if name in stack}
    return RunningStack(**{**known, "home": None})
