"""One transaction, caught at one step, and what may befall it there."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import signal
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import psutil
import psycopg
from psycopg import sql
from pydantic import SecretStr
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from infra.postgres.accounts import PostgresAccounts
from infra.postgres.database import Database
from infra.postgres.transactions import PostgresTransactions
from infra.rates import EcbDailyRates, EcbHistoryRates
from infra.stack import control
from infra.stack.model import Health
from ledger.accounts import AccountKind
from ledger.approvals import Approval, ApprovalStage
from ledger.commands import sign
from ledger.errors import UnavailableError
from ledger.ids import settlement_id, workflow_id
from ledger.requests import TransactionRequest
from ledger.results import TransactionResult, TransactionStatus
from ledger.rules import StatusChange
from ledger.settlements import SweepOrder
from starter.check import CheckReport, run_check
from starter.submit import TemporalConnection, TransactionStarter
from tests.integration.faults import matrix
from tests.integration.faults.bank import Bank, Handle, Topics
from tests.integration.faults.gates import Gate, GatedKafka, GatedPostgres, GatedRates
from tests.integration.faults.worker_process import environment_of
from tests.integration.forking import Forker
from tests.stack_fixtures import RunningStack
from tests.workflow.conftest import eventually
from tests.workflow.operators import SECRET
from workflows.sweep import SweepWorkflow
from workflows.transaction import TransactionWorkflow

Answer = TypeVar("Answer")

PATIENCE_SECONDS: Final = 120.0
"""For whatever comes by itself. A lost workflow task alone is noticed after ten seconds, one that was meant for a cache after twenty."""
DEADLINE_PATIENCE_SECONDS: Final = 240.0
"""For what comes after the two minutes that a rate may take."""

DATED_AHEAD: Final = dt.timedelta(seconds=20)
"""How long a transaction waits for its execution date: long enough for a fault meanwhile."""

SETTLE_SECONDS_BEFORE: Final = 5.0
"""Events of the trial before are applied by then; else they are there to be seen after this one."""

FROZEN, UNKNOWN = "F1", "U1"
"""An account that takes no credit, so that a saga compensates; one that isn't there until it is opened, so that a saga parks."""

_OPEN_ACCOUNTS, _RECORD_LEGS = b"open_accounts(", b"record_legs("
_REJECT, _UNPUBLISHED, _MARK = b"INSERT INTO transaction", b"JOIN event_outbox", b"UPDATE event_outbox"


@dataclass(frozen=True)
class Step:
    """How to bring a transaction to a step."""

    debtor: str | None = None
    creditor: str | None = None
    transfers: str = "saga"
    postings_before: int = 0
    waits: str = ""
    """For what, before or between its legs: `posting`, `credit` or `date`."""
    leg: str = ""
    """Of the decision that is recorded at this step."""


STEPS: Final = {
    matrix.APPROVAL: Step("E1", "E2", transfers="linked", waits="posting"),
    matrix.APPROVAL_OF_CREDIT: Step("E1", "E2", waits="credit", postings_before=1),
    matrix.DATE: Step("E1", "E2", transfers="linked", waits="date"),
    matrix.RATE: Step("E1", "C1", transfers="linked"),
    matrix.SINGLE: Step(creditor="E1", leg="credit"),
    matrix.LINKED: Step("E1", "E2", transfers="linked", leg="debit"),
    matrix.DEBIT: Step("E1", "E2", leg="debit"),
    matrix.CREDIT: Step("E1", "E2", postings_before=1, leg="credit"),
    matrix.COMPENSATION: Step("E1", FROZEN, postings_before=2, leg="compensation"),
    # No bank in Frankfurt quotes the Kuwaiti dinar, so it is rejected before anything is posted.
    matrix.REJECTION: Step("E1", "K1"),
    matrix.PUBLISHING: Step("E1", "E2", transfers="linked"),
    matrix.PARKED: Step("E1", UNKNOWN, postings_before=1),
}
POSTING_STEPS: Final = frozenset({matrix.SINGLE, matrix.LINKED, matrix.DEBIT, matrix.CREDIT, matrix.COMPENSATION})


@dataclass
class Trial:
    """A transaction on a worker of its own, behind gates."""

    bench: Bench
    step: str
    postgres: GatedPostgres
    kafka: GatedKafka
    rates: GatedRates
    exits: AsyncExitStack
    gate: Gate = field(default_factory=Gate)
    worker: psutil.Process | None = None
    asked: TransactionRequest | None = None
    is_swept: bool = False
    wrong_before: frozenset[str] = frozenset()
    """What `casaflow check` says of the ledger that all trials share: an earlier one that failed must not let this one fail."""

    @property
    def stack(self) -> RunningStack:
        return self.bench.stack

    @property
    def bank(self) -> Bank:
        return self.bench.bank

    @property
    def database(self) -> Database:
        return self.bench.database

    @property
    def request(self) -> TransactionRequest:
        assert self.asked is not None
        return self.asked

    @property
    def handle(self) -> Handle:
        """Of the workflow's newest run."""
        identifier = workflow_id(self.request.tenant, self.request.transaction_id)
        return self.bank.client.get_workflow_handle_for(TransactionWorkflow.run, identifier)

    async def start_worker(self) -> None:
        """Start a worker, and wait until it takes work."""
        settings = self.bank.settings.model_copy(
            update={
                "postgres_url": SecretStr(self.postgres.url(self.stack.postgres_dsn)),
                "kafka_bootstrap_servers": self.kafka.address,
                "rates_source": "ecb-daily" if self.step == matrix.RATE else "ecb-history",
            }
        )
        environment = {
            **environment_of(settings, self.bench.folder),
            "CASAFLOW_RATES_DAILY_URL": self.rates.url,
            # Its statements would be taken for those of a posting.
            "CASAFLOW_MAINTENANCE_EVERY_SECONDS": "0",
            # The trial sweeps when it is time.
            "CASAFLOW_SWEEP_EVERY_SECONDS": "0",
            "CASAFLOW_COMMAND_SECRETS": SECRET.decode(),
        }
        log = self.bench.folder / "worker.log"
        log.touch()
        already = log.read_bytes().count(b"worker.started")
        self.worker = self.bench.workers.start((), environment, self.bench.folder / "worker.log")
        self.exits.callback(_end, self.worker)
        await eventually(lambda: log.read_bytes().count(b"worker.started") > already, seconds=PATIENCE_SECONDS)

    async def kill_worker(self) -> None:
        """End it as a power cut does; what it had in hand is gone with its connections."""
        assert self.worker is not None
        self.worker.send_signal(signal.SIGKILL)
        await eventually(lambda: not _lives(self.worker), seconds=PATIENCE_SECONDS)
        await self.postgres.cut()
        await self.kafka.cut()
        self.gate.open()

    async def kill_server(self, part: str) -> None:
        """End one of the stack's servers in the same way, let the worker meet that, and wait until the supervisor has started it again."""
        assert self.stack.home is not None
        home = self.stack.home
        pid = json.loads((home / "stack.json").read_text())["pids"][part]
        os.kill(pid, signal.SIGKILL)
        self.gate.open()
        await eventually(lambda: _is_back(home, part, pid), seconds=PATIENCE_SECONDS)

    def catch(self, fault: str) -> None:
        """Close the gate at the moment of this step at which the fault belongs."""
        during = fault in {matrix.DURING, matrix.POSTGRES_DURING}
        before = STEPS[self.step].postings_before
        if self.step == matrix.RATE:
            self.rates.catch_answer(self.gate)
        elif self.step == matrix.PUBLISHING and during:
            self.kafka.catch_acknowledgement(self.gate)
        elif self.step == matrix.PUBLISHING:
            at_the_mark = fault in {matrix.AFTER, matrix.POSTGRES_BEFORE}
            self.postgres.catch_question(self.gate, _MARK if at_the_mark else _UNPUBLISHED)
        elif during:
            self.postgres.catch_commit(self.gate, after=before)
        elif fault == matrix.AFTER and self.step == matrix.DEBIT:
            self.postgres.catch_question(self.gate, _OPEN_ACCOUNTS, after=1)
        elif fault == matrix.AFTER:
            self.postgres.catch_question(self.gate, _UNPUBLISHED)
        else:
            self.postgres.catch_question(self.gate, _RECORD_LEGS if self.step in POSTING_STEPS else _REJECT, after=before)

    async def submit(self) -> None:
        """Start the transaction, and don't wait for it."""
        step = STEPS[self.step]
        shape = {name: value for name, value in (("debtor", step.debtor), ("creditor", step.creditor)) if value is not None}
        self.asked = self.bank.request(amount="12.50", **shape)
        now = dt.datetime.now(dt.UTC)
        if step.waits == "date":
            # What is asked for is a day; when this begins, the starter's caller has written down.
            begins = {"requested_execution_date": now.date(), "executes_at": now + DATED_AHEAD}
            self.asked = self.asked.model_copy(update=begins)
        elif step.waits:
            approval = Approval(expires_at=now + dt.timedelta(days=1), before=ApprovalStage(step.waits))
            self.asked = self.asked.model_copy(update={"approval": approval})
        await self.starter.submit(self.asked, wait_seconds=0)

    @property
    def starter(self) -> TransactionStarter:
        settings = self.bank.settings
        return TransactionStarter(
            TemporalConnection(settings),
            PostgresTransactions(self.database),
            task_queue=settings.task_queue,
            transfers="linked" if STEPS[self.step].transfers == "linked" else "saga",
        )

    # ---- What an operator does ----
    async def reset(self) -> None:
        """The Web UI's button Reset, at the first workflow task, which has to be over: an ordinary activity has then taken over."""
        await eventually(self._has_done_a_task, seconds=PATIENCE_SECONDS)
        described = await self.handle.describe()
        await self.bank.client.workflow_service.reset_workflow_execution(
            ResetWorkflowExecutionRequest(
                namespace=self.bank.client.namespace,
                workflow_execution=WorkflowExecution(workflow_id=described.id, run_id=described.run_id),
                reason="a fault",
                workflow_task_finish_event_id=4,
                request_id=str(uuid.uuid4()),
            )
        )

    async def cancel(self) -> None:
        """Cancel it, and wait until the workflow has heard of it: an ordinary activity has taken over by then, and is under way."""
        await eventually(self._has_done_a_task, seconds=PATIENCE_SECONDS)
        await self.handle.cancel()
        await eventually(self._has_heard_of_the_cancel, seconds=PATIENCE_SECONDS)

    async def _has_heard_of_the_cancel(self) -> bool:
        is_requested = False
        for event in (await self.handle.fetch_history()).events:
            is_requested = is_requested or event.HasField("workflow_execution_cancel_requested_event_attributes")
            if is_requested and event.HasField("workflow_task_completed_event_attributes"):
                return True
        return False

    async def _has_done_a_task(self) -> bool:
        return any(event.HasField("workflow_task_completed_event_attributes") for event in (await self.handle.fetch_history()).events)

    @property
    def carrier(self) -> Handle:
        """Of the run that carries it now: the settlement's, once its own was terminated or has failed."""
        if not self.is_swept:
            return self.handle
        return self.bank.client.get_workflow_handle_for(
            TransactionWorkflow.run, settlement_id(self.request.tenant, self.request.transaction_id)
        )

    async def is_parked(self) -> bool:
        return (await self._current()).status is TransactionStatus.PARKED

    async def is_waiting(self) -> bool:
        return (await self._current()).waiting_for is not None

    async def _current(self) -> TransactionResult:
        return await patiently(lambda: self.carrier.query(TransactionWorkflow.current))

    async def has_failed(self) -> bool:
        return (await self.handle.describe()).status is WorkflowExecutionStatus.FAILED

    async def mend_and_retry(self) -> None:
        """Take away what parked it, and ask for another try."""
        if self.step == matrix.PARKED:
            await patiently(
                lambda: PostgresAccounts(self.database).open_account(
                    tenant=self.bank.tenant, account_id=UNKNOWN, currency="EUR", kind=AccountKind.CURRENT
                )
            )
            self.bank.expected[UNKNOWN] = 0
        await self.mend()
        await self._tell("retry")

    async def approve(self) -> None:
        """Approve it, as somebody other than its submitter."""
        await self._tell("approve")

    async def _tell(self, action: str) -> None:
        request = self.request
        command = sign(
            SECRET,
            action=action,
            tenant=request.tenant,
            transaction_id=request.transaction_id,
            by="supervisor",
            reason="a fault",
            at=dt.datetime.now(dt.UTC),
        )
        await patiently(lambda: self.carrier.execute_update(action, command))

    async def sweep(self) -> None:
        """Find what no workflow carries, and settle it."""
        self.is_swept = True
        order = SweepOrder(older_than_seconds=0)
        await self.bank.client.execute_workflow(
            SweepWorkflow.run, order, id=f"sweep-{uuid.uuid4()}", task_queue=self.bank.settings.task_queue
        )

    def assert_caught_at(self, fault: str) -> None:
        """The ledger stands as the moment says: else the fault would come earlier or later than it is told."""
        committed = fault in {matrix.DURING, matrix.POSTGRES_DURING, matrix.AFTER}
        if self.step in POSTING_STEPS:
            legs = 2 if self.step == matrix.LINKED else 1
            assert self.decided_legs() == STEPS[self.step].postings_before + committed * legs
        elif self.step == matrix.REJECTION:
            rows = self.bank.rows("SELECT status FROM transaction WHERE tenant = %(tenant)s")
            assert rows == ([{"status": "rejected"}] if committed else [])
        elif self.step == matrix.PUBLISHING:
            assert self.bank.unpublished() == len(self.bank.events()) > 0

    def decided_legs(self) -> int:
        (row,) = self.bank.rows("SELECT count(*) AS legs FROM decision WHERE tenant = %(tenant)s")
        return int(row["legs"])

    # ---- Exceptions ----
    async def raise_in_the_activity(self, *, for_good: bool) -> None:
        """Let the database raise what this step writes: as the loser of a deadlock, which passes, or for a broken constraint."""
        if self.step == matrix.RATE:
            self.rates.refuses = True
            return
        if self.step == matrix.PUBLISHING:
            await self.kafka.refuse()
            return
        table, row = self._written()
        state = "23514" if for_good else "40P01"
        with psycopg.connect(self.stack.postgres_dsn, autocommit=True) as connection:
            body = sql.SQL("BEGIN RAISE EXCEPTION 'a fault' USING ERRCODE = {}; END").format(sql.Literal(state)).as_string(connection)
            connection.execute(
                sql.SQL("CREATE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql AS {}").format(self._fault, sql.Literal(body))
            )
            connection.execute(
                sql.SQL("CREATE TRIGGER {} BEFORE {} FOR EACH ROW WHEN (NEW.tenant = {} AND {}) EXECUTE FUNCTION {}()").format(
                    self._fault, table, sql.Literal(self.bank.tenant), row, self._fault
                )
            )

    async def mend(self) -> None:
        """Take the cause of the exception, or of the parking, away."""
        if self.step == matrix.RATE:
            self.rates.refuses = False
            return
        if self.step == matrix.PUBLISHING:
            await self.kafka.accept()
            return
        with psycopg.connect(self.stack.postgres_dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP FUNCTION IF EXISTS {} CASCADE").format(self._fault))

    @property
    def _fault(self) -> sql.Identifier:
        return sql.Identifier(self.bank.tenant.replace("-", "_"))

    def _written(self) -> tuple[sql.SQL, sql.Composable]:
        if self.step == matrix.REJECTION:
            return sql.SQL("INSERT ON transaction"), sql.SQL("NEW.status = 'rejected'")
        return sql.SQL("INSERT ON decision"), sql.SQL("NEW.leg = {}").format(sql.Literal(STEPS[self.step].leg))

    async def is_tried_again(self) -> bool:
        """Whether an ordinary activity has failed once, and goes on."""
        pending = (await self.handle.describe()).raw_description.pending_activities
        return any(activity.attempt > 1 for activity in pending)

    # ---- How it ends ----
    async def has_ended(self) -> bool:
        """Whether the ledger has an outcome, all events are out, and no workflow carries it any more."""
        rows = self.bank.rows("SELECT finished_at IS NOT NULL AS ended FROM transaction WHERE tenant = %(tenant)s")
        if rows != [{"ended": True}] or self.bank.unpublished():
            return False
        return not any([await _runs(handle) for handle in (self.handle, self.carrier)])

    async def assert_it_ended(self, status: str, topics: Topics) -> None:
        """The outcome, the money, the events, the answer to a repeat, and `casaflow check`."""
        if status == matrix.COMPLETED:
            await self.bank.expect(self.request)
        record = await patiently(lambda: PostgresTransactions(self.database).get(self.bank.tenant, self.request.transaction_id))
        assert record is not None
        assert record.result.status.value == status, record.result
        self.bank.assert_money_is_neither_lost_nor_made()
        decided = [(leg.leg, leg.account_id) for leg in record.result.legs]
        assert len(decided) == len(set(decided))
        events = self.bank.events()
        assert events
        assert await topics.until(set(events)) == {event_id: {payload} for event_id, payload in events.items()}
        await self._assert_a_repeat_answers(record.result)
        report = await run_check(self.bank.settings, with_topics=False)
        assert not _offending(report) - self.wrong_before

    async def _assert_a_repeat_answers(self, result: TransactionResult) -> None:
        before = len(self.bank.events())
        repeat = await patiently(lambda: self.starter.submit(self.request, wait_seconds=30))
        assert (repeat.repeated, repeat.result) == (True, result)
        if (await self.handle.describe()).status is WorkflowExecutionStatus.COMPLETED:
            assert await self.handle.result() == result
        assert len(self.bank.events()) == before


def _offending(report: CheckReport) -> frozenset[str]:
    return frozenset(sentence for finding in report.findings for sentence in finding.offending)


async def _runs(handle: Handle) -> bool:
    """False as well where there is none: a sweep that finds everything done starts no settlement."""
    try:
        return (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise


def _lives(process: psutil.Process | None) -> bool:
    try:
        return process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _end(worker: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        worker.kill()


def _is_back(home: Path, part: str, pid: int) -> bool:
    return any(
        state.name == part and state.health is Health.HEALTHY and state.pid is not None and state.pid != pid
        for state in control.part_states(home)
    )


async def patiently(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """The answer, once connections of before a server's death are replaced."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                return await ask()
            except UnavailableError:
                await asyncio.sleep(0.1)
            except RPCError as error:
                if error.status not in {RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED}:
                    raise
                await asyncio.sleep(0.1)


@dataclass(frozen=True)
class Bench:
    """What every trial needs."""

    stack: RunningStack
    bank: Bank
    database: Database
    workers: Forker
    folder: Path

    @asynccontextmanager
    async def trial_of(self, step: str) -> AsyncIterator[Trial]:
        """A worker that waits for the transaction, and the accounts that this needs."""
        accounts = PostgresAccounts(self.database)
        for account_id, currency in ((FROZEN, "EUR"), ("K1", "KWD")):
            await accounts.open_account(tenant=self.bank.tenant, account_id=account_id, currency=currency, kind=AccountKind.CURRENT)
            self.bank.expected[account_id] = 0
        await accounts.change_status(self.bank.tenant, FROZEN, StatusChange.FREEZE, by="teller")
        async with AsyncExitStack() as exits:
            postgres = await exits.enter_async_context(GatedPostgres(self.stack.postgres_dsn))
            kafka = await exits.enter_async_context(GatedKafka(self.stack.kafka_bootstrap_servers))
            rates = await exits.enter_async_context(GatedRates())
            trial = Trial(self, step, postgres, kafka, rates, exits)
            if step == matrix.RATE:
                self.bank.rates = EcbDailyRates(rates.url, history=EcbHistoryRates())
            trial.wrong_before = _offending(await run_check(self.bank.settings, settle_seconds=SETTLE_SECONDS_BEFORE, with_topics=False))
            exits.callback(trial.gate.open)
            exits.push_async_callback(trial.mend)
            await trial.start_worker()
            yield trial
