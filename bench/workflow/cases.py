"""What is measured: one way to carry transactions, so many in flight."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from temporalio.common import WorkflowIDReusePolicy

from bench.ledger.measuring import closed_loop, frozen_garbage
from bench.ledger.server import BenchError
from bench.workflow.loads import Accounts, What, requests
from bench.workflow.system import TASK_QUEUE
from bench.workflow.workflows import EmptyWorkflow, PlainWorkflow
from ledger.results import TransactionResult, TransactionStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bench.workflow.system import System
    from ledger.requests import TransactionRequest

Figures = dict[str, float]

WAIT_SECONDS: Final = 30
WARM_UP_SECONDS: Final = 0.7
_ONCE: Final = WorkflowIDReusePolicy.REJECT_DUPLICATE


class Side(StrEnum):
    """Who carries it."""

    EMPTY = "empty"
    PLAIN = "plain"
    CASAFLOW = "casaflow"
    SAGA = "casaflow, leg by leg"
    HTTP = "casaflow over HTTP"
    DBOS = "DBOS"


@dataclass(frozen=True)
class Case:
    """One measurement."""

    side: Side
    in_flight: int
    what: What = What.DEPOSIT
    accounts: Accounts = Accounts.SPREAD
    quick: bool = False
    """Whether ``--quick`` runs it: a ratio needs it."""

    @property
    def name(self) -> str:
        """As in the table and in the JSON."""
        if self.side is Side.EMPTY:
            return f"empty workflow, {self.in_flight} in flight"
        return f"{self.side}: {self.what}, {self.accounts}, {self.in_flight} in flight"

    async def run(self, system: System, *, seconds: float) -> Figures:
        """Rate, latencies and CPU time.

        Raises:
            BenchError: a transaction did not complete.
        """
        if self.side is Side.DBOS:
            await system.ask_dbos(in_flight=self.in_flight, seconds=WARM_UP_SECONDS)
            before = system.cpu_seconds()
            figures = await system.ask_dbos(in_flight=self.in_flight, seconds=seconds)
            return {**figures, **_cpu(before, system.cpu_seconds(), figures.pop("transactions"))}
        work = self._work(system)
        asked = requests(self.what, self.accounts)
        await closed_loop(work, asked, in_flight=self.in_flight, seconds=WARM_UP_SECONDS)
        with frozen_garbage():
            before = system.cpu_seconds()
            run = await closed_loop(work, asked, in_flight=self.in_flight, seconds=seconds)
            answered = time.perf_counter()
            await system.all_published()
            published_after = time.perf_counter() - answered
            after = system.cpu_seconds()
        count = len(run.latencies_ms)
        rate = count / (count / run.per_second + published_after)
        return {**run.figures("transactions_per_second"), "transactions_per_second": rate, **_cpu(before, after, count)}

    def _work(self, system: System) -> Callable[[TransactionRequest], Awaitable[None]]:
        async def empty(_request: TransactionRequest) -> None:
            await system.client.execute_workflow(
                EmptyWorkflow.run,
                id=f"empty-{uuid.uuid4()}",
                task_queue=TASK_QUEUE,
                id_reuse_policy=_ONCE,
                request_eager_start=True,
            )

        async def plain(request: TransactionRequest) -> None:
            await system.client.execute_workflow(
                PlainWorkflow.run, request, id=f"plain-{request.transaction_id}", task_queue=TASK_QUEUE, id_reuse_policy=_ONCE
            )

        starter = system.saga_starter if self.side is Side.SAGA else system.starter

        async def casaflow(request: TransactionRequest) -> None:
            expect_completed((await starter.submit(request, wait_seconds=WAIT_SECONDS)).result)

        async def over_http(request: TransactionRequest) -> None:
            body = {
                "transaction_id": request.transaction_id,
                "debtor": request.debtor.account_id if request.debtor else None,
                "creditor": request.creditor.account_id if request.creditor else None,
                "amount": request.amount.decimal_string,
                "currency": request.amount.currency,
            }
            answer = await system.http.submit(body, wait_seconds=WAIT_SECONDS)
            if answer.status != "completed":
                message = f"the API answered {answer.content}"
                raise BenchError(message)

        return {Side.EMPTY: empty, Side.PLAIN: plain, Side.HTTP: over_http}.get(self.side, casaflow)


CASES: Final = (
    *(Case(Side.EMPTY, in_flight, quick=True) for in_flight in (1, 50)),
    *(Case(Side.CASAFLOW, in_flight, quick=True) for in_flight in (1, 50)),
    Case(Side.CASAFLOW, 50, accounts=Accounts.ONE, quick=True),
    Case(Side.CASAFLOW, 50, What.TRANSFER, quick=True),
    Case(Side.PLAIN, 50, quick=True),
    Case(Side.CASAFLOW, 50, What.WITHDRAWAL, Accounts.ONE, quick=True),
    Case(Side.DBOS, 50, What.WITHDRAWAL, Accounts.ONE, quick=True),
    Case(Side.CASAFLOW, 50, What.WITHDRAWAL, quick=True),
    *(Case(Side.CASAFLOW, 1, what) for what in (What.WITHDRAWAL, What.TRANSFER, What.CROSS_CURRENCY)),
    Case(Side.PLAIN, 1),
    Case(Side.CASAFLOW, 50, What.TRANSFER, Accounts.ONE),
    Case(Side.SAGA, 1, What.TRANSFER),
    Case(Side.SAGA, 50, What.TRANSFER),
    Case(Side.CASAFLOW, 50, What.CROSS_CURRENCY),
    Case(Side.HTTP, 50),
    Case(Side.DBOS, 1, What.WITHDRAWAL, Accounts.ONE),
)
"""In this order, so that those whose ratio counts follow one another."""


def expect_completed(result: TransactionResult) -> None:
    """Raise a BenchError unless the transaction completed: a refusal, or one that is still under way, costs something else."""
    if result.status is not TransactionStatus.COMPLETED:
        message = f"transaction {result.transaction_id} is {result.status}: {result.reason}"
        raise BenchError(message)


def _cpu(before: dict[str, float], after: dict[str, float], transactions: float) -> Figures:
    taken = {part: (after[part] - before[part]) * 1_000 / transactions for part in before}
    return {"cpu_ms": sum(taken.values()), **{f"{part}_cpu_ms": spent for part, spent in taken.items()}}
