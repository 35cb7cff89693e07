"""The CASA ledger on PostgreSQL: legs that arrive together are decided and recorded together.

See ``docs/decisions/0003-posting-in-two-round-trips.md``, ``0007-group-commit.md`` and ``0010-a-batch-in-two-round-trips.md``.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import structlog
from sqlalchemy import text

from infra.postgres.group_commit import Lane
from infra.postgres.json import to_jsonb
from infra.postgres.operator_actions import record_action
from infra.postgres.posting import Bundle, MissedLockError, OvertakenError, post_batch
from infra.postgres.transactions import find_transaction
from ledger.decisions import Decision
from ledger.errors import BusyError, CasaflowError, LedgerIntegrityError, TransactionConflictError, UnavailableError
from ledger.event_writer import transaction_finished
from ledger.observing import BatchCounts
from ledger.results import TransactionResult, TransactionStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import psycopg
    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.postgres.database import Database
    from infra.postgres.posting import Answer
    from ledger.commands import OperatorAction
    from ledger.events import Event
    from ledger.observing import Arrival, LedgerObserver
    from ledger.postings import LinkedPosting, Posting
    from ledger.requests import TransactionRequest
    from ledger.results import Rejection

_log = structlog.get_logger(__name__)

_INSERT_REJECTED = text("""
    INSERT INTO transaction (tenant, transaction_id, fingerprint, kind, debtor, creditor, request, status, reason,
                             submitted_by, submitted_at, finished_at, reverses)
    VALUES (:tenant, CAST(:transaction_id AS uuid), :fingerprint, :kind, :debtor, :creditor, CAST(:request AS jsonb), 'rejected',
            CAST(:reason AS jsonb), :submitted_by, :submitted_at, clock_timestamp(), CAST(:reverses AS uuid))
    ON CONFLICT DO NOTHING
    RETURNING finished_at
""")
_INSERT_EVENT = text("""
    INSERT INTO event_outbox (event_id, topic, key, payload, type, source, subject, time, tenant, transaction_id, position)
    VALUES (CAST(:event_id AS uuid), :topic, :key, :data, :type, :source, :subject, :time, :tenant, CAST(:transaction_id AS uuid), 0)
""")


MAX_BATCH_LEGS: Final = 256
"""Legs in one database transaction at most; each account holds an entry of PostgreSQL's lock table, of which there are some thousands."""
MAX_WAITING: Final = 4_096
"""Postings that wait in one lane at most; who comes later waits before it."""
DEBIT_LANES: Final = 2
CREDIT_LANES: Final = 1
"""Each has up to two batches under way: one being recorded, the next being opened. More lanes make batches smaller."""
_MAX_ATTEMPTS: Final = 10
"""Of one batch. Each is a race that was lost to somebody who committed, so more than two in a row are rare."""


class _Item:
    """A bundle that waits for its batch, and who else wants its answer."""

    __slots__ = ("arrival", "bundle", "done", "repeats")

    def __init__(self, bundle: Bundle, arrival: Arrival | None) -> None:
        self.bundle = bundle
        self.arrival = arrival
        self.repeats: list[asyncio.Future[Answer]] = []
        self.done: asyncio.Future[None] | None = None
        """Made when somebody waits for the item to be over, whatever comes of it."""


class PostgresLedger:
    """Decides legs by the rules of ``ledger``, under PostgreSQL's locks, in batches: see :mod:`infra.postgres.group_commit`.

    The debits of one account always take the same lane, so this process seldom waits for itself on the account's row.
    """

    def __init__(self, database: Database, observer: LedgerObserver | None = None) -> None:
        self._database = database
        self._observer = observer
        self._debits = [self._lane() for _ in range(DEBIT_LANES)]
        self._credits = [self._lane() for _ in range(CREDIT_LANES)]
        self._next_credit_lane = 0
        self._in_progress: dict[tuple[str, str], _Item] = {}

    def _lane(self) -> Lane[_Item, Answer]:
        return Lane(
            self._carry_out, max_batch=MAX_BATCH_LEGS, max_waiting=MAX_WAITING, weight=lambda item: len(item.bundle.legs), halves=True
        )

    async def post(self, posting: Posting) -> Decision:
        """Decide and book one leg; see :meth:`ledger.ports.CasaLedger.post`."""
        answer = await self._answer(posting.request, (posting,), linked=False)
        if not isinstance(answer, Decision):
            message = f"one leg of transaction {posting.request.transaction_id} was answered as several"
            raise LedgerIntegrityError(message)
        return answer

    async def post_linked(self, linked: LinkedPosting) -> TransactionResult:
        """Decide and book all legs of a transaction, or none; see :meth:`ledger.ports.CasaLedger.post_linked`."""
        answer = await self._answer(linked.request, linked.legs, linked=True)
        if isinstance(answer, TransactionResult):
            return answer
        return await self._recorded(linked.request)

    async def reject(self, rejection: Rejection) -> TransactionResult:
        """Record an outcome without any leg; see :meth:`ledger.ports.CasaLedger.reject`."""

        async def work(connection: AsyncConnection) -> TransactionResult:
            return await reject_on(connection, rejection)

        result = await self._database.run(work)
        if self._observer is not None and result.status is TransactionStatus.REJECTED:
            self._observer.rejected(rejection.refusal.code)
        return result

    async def record_action(self, action: OperatorAction) -> None:
        """Record what an operator did; see :meth:`ledger.ports.CasaLedger.record_action`."""

        async def work(connection: AsyncConnection) -> None:
            await record_action(connection, action)

        await self._database.run(work)

    async def drain(self) -> None:
        """Return once every leg that was handed over has its answer; called before the database is closed."""
        for lane in (*self._debits, *self._credits):
            await lane.drain()

    async def _recorded(self, request: TransactionRequest) -> TransactionResult:
        async def work(connection: AsyncConnection) -> TransactionResult:
            record = await find_transaction(connection, request.tenant, request.transaction_id)
            if record is None:
                message = f"transaction {request.transaction_id} was there, and is not"
                raise LedgerIntegrityError(message)
            return record.result

        return await self._database.run_statement(work)

    async def _answer(self, request: TransactionRequest, legs: tuple[Posting, ...], *, linked: bool) -> Answer:
        key = (request.tenant, request.transaction_id)
        while (first := self._in_progress.get(key)) is not None:
            # A batch holds each id once. The same legs again wait for the same answer; anything else under the id comes after it.
            loop = asyncio.get_running_loop()
            if first.bundle.legs == legs and first.bundle.linked == linked:
                repeat: asyncio.Future[Answer] = loop.create_future()
                first.repeats.append(repeat)
                return await repeat
            first.done = first.done or loop.create_future()
            await asyncio.shield(first.done)
        arrival = self._observer.arrived(request.transaction_id) if self._observer is not None else None
        item = self._in_progress[key] = _Item(Bundle(request, legs, linked=linked), arrival)
        return await self._lane_of(item.bundle).submit(item)

    def _lane_of(self, bundle: Bundle) -> Lane[_Item, Answer]:
        debit = next((leg for leg in bundle.legs if leg.is_debit), None)
        if debit is not None:
            return self._debits[hash((bundle.request.tenant, debit.account_id)) % DEBIT_LANES]
        self._next_credit_lane = (self._next_credit_lane + 1) % CREDIT_LANES
        return self._credits[self._next_credit_lane]

    async def _carry_out(self, items: Sequence[_Item], let_next_begin: Callable[[], None]) -> Sequence[Answer | Exception]:
        answers: Sequence[Answer | Exception]
        observer = self._observer
        began = observer.began([item.arrival for item in items if item.arrival is not None]) if observer is not None else None
        try:
            answers = await self._post_batch([item.bundle for item in items], decided=let_next_begin)
        except Exception as error:  # noqa: BLE001  every waiter gets it, whatever it is
            answers = [error] * len(items)
        if observer is not None:
            observer.ended(began, _counts(items, answers))
        for item, answer in zip(items, answers, strict=True):
            self._finish(item, answer)
        return answers

    def _finish(self, item: _Item, answer: Answer | Exception) -> None:
        del self._in_progress[item.bundle.request.tenant, item.bundle.request.transaction_id]
        if item.done is not None:
            item.done.set_result(None)
        for repeat in item.repeats:
            if repeat.done():
                continue
            if isinstance(answer, Exception):
                repeat.set_exception(answer)
            else:
                repeat.set_result(answer)

    async def _post_batch(
        self, bundles: Sequence[Bundle], *, look_up: bool = False, decided: Callable[[], None] | None = None
    ) -> Sequence[Answer | CasaflowError]:
        """Post bundles in one database transaction; in several when something about one of them makes one impossible."""
        for _ in range(_MAX_ATTEMPTS):
            try:
                return await self._attempt(bundles, look_up=look_up, decided=decided)
            except OvertakenError:
                look_up = True
                if self._observer is not None:
                    self._observer.overtaken()
            except MissedLockError:
                continue
            except Exception as error:
                if isinstance(error, UnavailableError) and not isinstance(error, BusyError):
                    raise  # nobody knows what became of the batch
                if len(bundles) > 1:
                    return await self._by_halves(bundles, look_up=look_up)
                return [_defect(bundles[0], error)]
        return [BusyError(part="postgres", detail=f"others were faster {_MAX_ATTEMPTS} times in a row")] * len(bundles)

    async def _by_halves(self, bundles: Sequence[Bundle], *, look_up: bool) -> Sequence[Answer | CasaflowError]:
        middle = len(bundles) // 2
        halves = bundles[:middle], bundles[middle:]
        return [answer for half in halves for answer in await self._post_batch(half, look_up=look_up)]

    async def _attempt(
        self, bundles: Sequence[Bundle], *, look_up: bool, decided: Callable[[], None] | None
    ) -> Sequence[Answer | CasaflowError]:
        async def work(driver: psycopg.AsyncConnection[Any]) -> Sequence[Answer | CasaflowError]:
            return await post_batch(driver, bundles, look_up=look_up, commit=True, decided=decided)

        return await self._database.run_on_driver(work)


def _counts(items: Sequence[_Item], answers: Sequence[Answer | Exception]) -> BatchCounts:
    """What an observer is told of a batch; only called where there is one."""
    reasons = (
        answer.refusal if isinstance(answer, Decision) else answer.reason
        for answer in answers
        if isinstance(answer, Decision | TransactionResult)
    )
    return BatchCounts(
        side="debit" if any(leg.is_debit for leg in items[0].bundle.legs) else "credit",
        postings=len(items),
        legs=sum(len(item.bundle.legs) for item in items),
        repeats=sum(len(item.repeats) for item in items),
        refusals=Counter(reason.code for reason in reasons if reason is not None),
        errors=sum(isinstance(answer, Exception) for answer in answers),
    )


def _defect(bundle: Bundle, error: Exception) -> CasaflowError:
    if isinstance(error, CasaflowError):
        return error
    _log.error("ledger.not-decided", transaction_id=bundle.request.transaction_id, exc_info=error)
    return LedgerIntegrityError(f"{type(error).__name__}: {error}")


async def post_on(connection: AsyncConnection, postings: Sequence[Posting]) -> Sequence[Decision | CasaflowError]:
    """Decide and book legs, each under an id of its own, on a connection that somebody else commits, or rolls back.

    Returns:
        For each leg its decision, or why it can't be decided: TransactionConflictError, UnknownAccountError, LedgerIntegrityError.

    Raises:
        OvertakenError: another connection decided some of the legs first; nothing may be committed.
        psycopg.Error: as the driver raised it.
    """
    if not connection.in_transaction():
        await connection.begin()
    driver: psycopg.AsyncConnection[Any] | None = (await connection.get_raw_connection()).driver_connection
    if driver is None:
        message = "the pool gave no connection"
        raise LedgerIntegrityError(message)
    bundles = [Bundle(posting.request, (posting,), linked=False) for posting in postings]
    answers = await post_batch(driver, bundles, look_up=True, commit=False)
    return [answer for answer in answers if isinstance(answer, Decision | CasaflowError)]


async def reject_on(connection: AsyncConnection, rejection: Rejection) -> TransactionResult:
    """Record an outcome without any leg on a connection that somebody else commits, or rolls back.

    Raises:
        TransactionConflictError: the id was used before with other content.
        sqlalchemy.exc.DBAPIError: as the driver raised it.
    """
    request = rejection.request
    inserted = await connection.execute(
        _INSERT_REJECTED,
        {
            "tenant": request.tenant,
            "transaction_id": request.transaction_id,
            "fingerprint": request.fingerprint,
            "kind": request.kind,
            "debtor": request.debtor.account_id if request.debtor else None,
            "creditor": request.creditor.account_id if request.creditor else None,
            "request": request.model_dump_json(exclude_defaults=True),
            "submitted_by": request.submitted_by,
            "submitted_at": request.submitted_at,
            "reason": to_jsonb(rejection.refusal),
            "reverses": request.reverses,
        },
    )
    finished_at = inserted.scalar_one_or_none()
    if finished_at is None:
        stored = await find_transaction(connection, request.tenant, request.transaction_id)
        if stored is None or stored.fingerprint != request.fingerprint:
            raise TransactionConflictError(transaction_id=request.transaction_id)
        return stored.result
    result = TransactionResult(transaction_id=request.transaction_id, status=TransactionStatus.REJECTED, reason=rejection.refusal)
    event: Event = transaction_finished(request, result, finished_at=finished_at)
    await connection.execute(_INSERT_EVENT, {**event.model_dump(), "tenant": request.tenant, "transaction_id": request.transaction_id})
    return result
