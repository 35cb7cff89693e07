"""`kill -9` in the middle of a payment file: what was decided stands, the next worker goes on, and each line is posted once."""

from __future__ import annotations

import asyncio
import signal
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, LiteralString

import psutil
import psycopg
import pytest

from infra.postgres.accounts import PostgresAccounts
from infra.postgres.database import Database
from infra.postgres.payment_files import PostgresPaymentFiles
from infra.postgres.proof import PostgresProof
from infra.settings import Settings
from infra.temporal.client import connect
from infra.temporal.payment_files import FileKeeper
from ledger.accounts import AccountKind, AccountRules
from ledger.payment_files import FileMode, PaymentFile
from starter.payment_files import FileDesk
from tests.integration.faults.worker_process import worker_process
from tests.stack_fixtures import RunningStack

PAYEES = 40
_MEBIBYTE = 1024 * 1024


class Payroll:
    """One debtor, many creditors, a tenant of its own."""

    def __init__(self, stack: RunningStack, desk: FileDesk, tenant: str) -> None:
        self._stack = stack
        self._desk = desk
        self.tenant = tenant

    async def hand_in(self, lines: int, *, form: str) -> PaymentFile:
        async def body() -> AsyncIterator[bytes]:
            for part in _FORMS[form](lines):
                yield part.encode()

        return await self._desk.take_in(self.tenant, body(), media_type=form, mode=FileMode.BEST_EFFORT, by="payroll", announced_bytes=None)

    async def until(self, file: PaymentFile, decided: int, *, within_seconds: float) -> PaymentFile:
        """The file once so many lines are decided."""
        async with asyncio.timeout(within_seconds):
            while (found := await self._desk.files.get(file.key)).progress.completed < decided:  # noqa: ASYNC110  a database tells nobody
                await asyncio.sleep(0.02)
        return found

    def count(self, query: LiteralString) -> Any:
        with psycopg.connect(self._stack.postgres_dsn) as connection:
            (row,) = connection.execute(query, {"tenant": self.tenant}).fetchall()
        return row[0]

    def assert_each_line_once(self, lines: int) -> None:
        assert self.count("SELECT count(*) FROM transaction WHERE tenant = %(tenant)s AND status = 'completed'") == lines
        assert self.count("SELECT count(*) FROM online_entry WHERE tenant = %(tenant)s") == lines
        assert self.count("SELECT count(*) FROM offline_entry WHERE tenant = %(tenant)s") == lines
        assert self.count("SELECT version FROM online_balance WHERE tenant = %(tenant)s AND account_id = 'payer'") == lines
        assert self.count("SELECT ledger FROM account_balance WHERE tenant = %(tenant)s AND account_id = 'payer'") == -lines
        assert self.count("SELECT count(*) FROM event_outbox WHERE tenant = %(tenant)s") == 3 * lines
        assert self.count("SELECT count(*) FROM payment_line_refusal WHERE tenant = %(tenant)s") == 0


def _csv(lines: int) -> Iterator[str]:
    yield "debtor,creditor,amount,currency,reference\n"
    for number in range(lines):
        yield f"payer,payee-{number % PAYEES},0.01,EUR,{number}\n"


def _pain001(lines: int) -> Iterator[str]:
    sums = f"<NbOfTxs>{lines}</NbOfTxs><CtrlSum>{lines // 100}.{lines % 100:02}</CtrlSum>"
    yield (
        '<?xml version="1.0" encoding="UTF-8"?><Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"><CstmrCdtTrfInitn><GrpHdr>'
        f"<MsgId>PAYROLL-1</MsgId><CreDtTm>2026-01-31T10:00:00</CreDtTm>{sums}<InitgPty><Nm>Acme</Nm></InitgPty></GrpHdr>"
        f"<PmtInf><PmtInfId>P-1</PmtInfId><PmtMtd>TRF</PmtMtd>{sums}<ReqdExctnDt><Dt>2026-02-01</Dt></ReqdExctnDt>"
        "<Dbtr><Nm>Acme</Nm></Dbtr><DbtrAcct><Id><Othr><Id>payer</Id></Othr></Id></DbtrAcct>"
        "<DbtrAgt><FinInstnId><Othr><Id>NOTPROVIDED</Id></Othr></FinInstnId></DbtrAgt>\n"
    )
    for number in range(lines):
        yield (
            f"<CdtTrfTxInf><PmtId><InstrId>I-{number}</InstrId><EndToEndId>E-{number}</EndToEndId></PmtId>"
            f'<Amt><InstdAmt Ccy="EUR">0.01</InstdAmt></Amt><Cdtr><Nm>Payee</Nm></Cdtr><CdtrAcct><Id><Othr><Id>payee-{number % PAYEES}</Id>'
            f"</Othr></Id></CdtrAcct><RmtInf><Ustrd>salary {number}</Ustrd></RmtInf></CdtTrfTxInf>\n"
        )
    yield "</PmtInf></CstmrCdtTrfInitn></Document>"


_FORMS: dict[str, Callable[[int], Iterator[str]]] = {"text/csv": _csv, "application/xml": _pain001}


@pytest.fixture
async def payroll(stack: RunningStack, database: Database, settings: Settings) -> Payroll:
    tenant = f"payroll-{uuid.uuid4().hex[:12]}"
    accounts = PostgresAccounts(database)
    for account_id in ("payer", *(f"payee-{number}" for number in range(PAYEES))):
        rules = AccountRules(overdraft_limit=10**12 if account_id == "payer" else 0)
        await accounts.open_account(tenant=tenant, account_id=account_id, currency="EUR", kind=AccountKind.CURRENT, rules=rules)
    files = PostgresPaymentFiles(database)
    keeper = FileKeeper(files, lambda: connect(settings), task_queue=settings.task_queue)
    return Payroll(stack, FileDesk(files, keeper, most_bytes=256 * _MEBIBYTE), tenant)


@pytest.mark.parametrize(
    ("form", "lines"), [("text/csv", 3_000), pytest.param("application/xml", 100_000, marks=pytest.mark.slow)], ids=["csv", "pain.001"]
)
async def test_file_whose_worker_is_killed_twice_has_each_line_once(
    payroll: Payroll, database: Database, settings: Settings, tmp_path: Path, form: str, lines: int
) -> None:
    file = await payroll.hand_in(lines, form=form)
    began = time.monotonic()
    largest = 0
    for part in (1, 2):
        with worker_process(settings, tmp_path) as worker:
            reached = await payroll.until(file, lines * part // 4, within_seconds=300)
            largest = max(largest, psutil.Process(worker.pid).memory_info().rss)
            worker.send_signal(signal.SIGKILL)
            assert worker.wait() == -signal.SIGKILL
        assert reached.progress.completed < lines
    with worker_process(settings, tmp_path) as worker:
        done = await payroll.until(file, lines, within_seconds=600)
        largest = max(largest, psutil.Process(worker.pid).memory_info().rss)
    took = time.monotonic() - began
    found = f"{lines} lines in {took:.1f} s with two kills, {lines / took:.0f} a second; a worker had at most {largest / _MEBIBYTE:.0f} MiB"
    print(found)  # noqa: T201  shown with -s
    assert (done.progress.status, done.progress.rejected) == ("completed", 0)
    payroll.assert_each_line_once(lines)
    assert largest < 400 * _MEBIBYTE
    # What `casaflow check` proves of the entries, on the whole ledger.
    evidence = await PostgresProof(database).ledger()
    assert {truth: found.shown for truth, found in evidence.violations.items() if found.total} == {}
