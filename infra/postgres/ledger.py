"""The CASA ledger on PostgreSQL: one database transaction for each batch of legs, in two calls and a commit.

See ``docs/decisions/0003-posting-in-two-round-trips.md`` and ``docs/decisions/0007-group-commit.md``.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from infra.postgres.group_commit import Lane
from infra.postgres.json import to_jsonb
from infra.postgres.transactions import decision_from_row, find_transaction
from ledger.accounts import AccountStatus, DebtorState, credit_refusal, debit_refusal
from ledger.decisions import Decision, LegName, Outcome
from ledger.errors import BusyError, LedgerIntegrityError, TransactionConflictError, UnknownAccountError
from ledger.events import Event, events_of_leg, transaction_finished
from ledger.postings import gl_entries
from ledger.results import FINAL_STATUSES, TransactionResult, TransactionStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.postgres.database import Database
    from ledger.errors import CasaflowError
    from ledger.postings import Posting
    from ledger.requests import TransactionRequest
    from ledger.results import Rejection

_OPEN_LEGS = text("""
    SELECT * FROM open_legs(CAST(:tenants AS text[]), CAST(:account_ids AS text[]), CAST(:transaction_ids AS uuid[]),
                            CAST(:legs AS text[]), CAST(:debits AS boolean[]))
""")
_RECORD_LEGS = text("""
    SELECT ordinal, conflict, recorded FROM record_legs(CAST(:legs AS json), CAST(:gl AS json), CAST(:events AS json))
""")
_STORED_DECISION = text("""
    SELECT to_jsonb(d) AS stored FROM decision d
     WHERE tenant = :tenant AND account_id = :account_id AND transaction_id = CAST(:transaction_id AS uuid) AND leg = :leg
""")
_INSERT_REJECTED = text("""
    INSERT INTO transaction (tenant, transaction_id, fingerprint, kind, debtor, creditor, request, status, reason,
                             submitted_by, submitted_at, finished_at)
    VALUES (:tenant, CAST(:transaction_id AS uuid), :fingerprint, :kind, :debtor, :creditor, CAST(:request AS jsonb), 'rejected',
            CAST(:reason AS jsonb), :submitted_by, :submitted_at, clock_timestamp())
    ON CONFLICT DO NOTHING
    RETURNING finished_at
""")
_INSERT_EVENT = text("""
    INSERT INTO event_outbox (event_id, topic, key, payload, type, source, subject, time, tenant, transaction_id, position)
    VALUES (CAST(:event_id AS uuid), :topic, :key, :data, :type, :source, :subject, :time, :tenant, CAST(:transaction_id AS uuid), 0)
""")


MAX_BATCH_LEGS: Final = 256
"""Legs in one database transaction at most; each holds an entry of PostgreSQL's lock table, of which there are some thousands."""
MAX_WAITING_LEGS: Final = 4_096
"""Legs that wait in one lane at most; who comes later waits before it."""
DEBIT_LANES: Final = 2
CREDIT_LANES: Final = 2
"""Database transactions of each kind at one time. More of them make batches smaller, fewer leave the database idle while Python decides."""


class PostgresLedger:
    """Decides legs by the rules of ``ledger``, under PostgreSQL's locks, in batches: see :mod:`infra.postgres.group_commit`.

    The debits of one account always take the same lane, so there is never more than one database transaction of this process for them.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._debits = [self._lane() for _ in range(DEBIT_LANES)]
        self._credits = [self._lane() for _ in range(CREDIT_LANES)]
        self._next_credit_lane = 0
        self._in_progress: dict[tuple[str, str], tuple[Posting, asyncio.Future[Decision]]] = {}

    def _lane(self) -> Lane[Posting, Decision]:
        return Lane(self._post_batch, max_batch=MAX_BATCH_LEGS, max_waiting=MAX_WAITING_LEGS)

    async def post(self, posting: Posting) -> Decision:
        """Decide and book one leg; see :meth:`ledger.ports.CasaLedger.post`."""
        key = (posting.request.tenant, posting.request.transaction_id)
        while key in self._in_progress:
            # A batch holds each id once. The same leg again waits for the same answer; anything else under the id comes after it.
            first, answer = self._in_progress[key]
            if first == posting:
                return await asyncio.shield(answer)
            await asyncio.wait([answer])
        answer = asyncio.ensure_future(self._lane_of(posting).submit(posting))
        self._in_progress[key] = (posting, answer)
        answer.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(answer)

    def _forget(self, key: tuple[str, str], answer: asyncio.Future[Decision]) -> None:
        del self._in_progress[key]
        # Whoever waited got the error; where nobody waits any more, posting again settles it.
        if not answer.cancelled():
            answer.exception()

    async def reject(self, rejection: Rejection) -> TransactionResult:
        """Record an outcome without any leg; see :meth:`ledger.ports.CasaLedger.reject`."""

        async def work(connection: AsyncConnection) -> TransactionResult:
            return await reject_on(connection, rejection)

        return await self._database.run(work)

    async def drain(self) -> None:
        """Return once every leg that was handed over has its answer; called before the database is closed."""
        for lane in (*self._debits, *self._credits):
            await lane.drain()

    def _lane_of(self, posting: Posting) -> Lane[Posting, Decision]:
        if posting.is_debit:
            return self._debits[hash((posting.request.tenant, posting.account_id)) % DEBIT_LANES]
        self._next_credit_lane = (self._next_credit_lane + 1) % CREDIT_LANES
        return self._credits[self._next_credit_lane]

    async def _post_batch(self, postings: Sequence[Posting]) -> Sequence[Decision | CasaflowError]:
        """Post legs in one database transaction; in several when something about one of them makes one impossible."""

        async def work(connection: AsyncConnection) -> Sequence[Decision | CasaflowError]:
            return await post_on(connection, postings)

        try:
            return await self._database.run(work)
        except _OvertakenError as overtaken:
            # Nothing was written. The others go again together, those that were overtaken one by one, and get what stands by then.
            alone = {number: (await self._post_batch([postings[number]]))[0] for number in sorted(overtaken.ordinals)}
            rest = [posting for number, posting in enumerate(postings) if number not in alone]
            together = iter(await self._post_batch(rest) if rest else ())
            return [alone[number] if number in alone else next(together) for number in range(len(postings))]
        except (LedgerIntegrityError, BusyError) as error:
            if len(postings) == 1:
                return [error]
            middle = len(postings) // 2
            return [*await self._post_batch(postings[:middle]), *await self._post_batch(postings[middle:])]


class _OvertakenError(Exception):
    """Rolls a batch back: other connections decided some of its legs between its two calls."""

    def __init__(self, ordinals: frozenset[int]) -> None:
        self.ordinals = ordinals
        super().__init__()


async def post_on(connection: AsyncConnection, postings: Sequence[Posting]) -> Sequence[Decision | CasaflowError]:
    """Decide and book legs, each under an id of its own, on a connection that somebody else commits, or rolls back.

    Returns:
        For each leg its decision, or why it can't be decided: TransactionConflictError, UnknownAccountError, LedgerIntegrityError.

    Raises:
        _OvertakenError: other connections decided some of several legs first; nothing may be committed.
        sqlalchemy.exc.DBAPIError: as the driver raised it.
    """
    opened = await _open(connection, postings)
    answers: list[Decision | CasaflowError | None] = []
    debtors: dict[tuple[str, str], DebtorState] = {}
    fresh: list[tuple[int, Posting, Decision]] = []
    for ordinal, (posting, row) in enumerate(zip(postings, opened, strict=True)):
        answer = _known(posting, row)
        if answer is None:
            decision = decide(posting, row, debtors)
            fresh.append((ordinal, posting, decision))
            answer = decision
        answers.append(answer)
    if fresh:
        for ordinal, standing in await _record(connection, fresh):
            answers[ordinal] = standing
    return [answer for answer in answers if answer is not None]


async def _record(
    connection: AsyncConnection, fresh: Sequence[tuple[int, Posting, Decision]]
) -> list[tuple[int, Decision | CasaflowError]]:
    """Record decisions; returns what stands instead of those that were overtaken by another connection.

    Raises:
        _OvertakenError: some were overtaken, and what this batch decided for others no longer holds; the caller rolls back.
    """
    recorded = {row.ordinal: row for row in await connection.execute(_RECORD_LEGS, _batch_record(fresh))}
    lost = [(ordinal, posting, decision) for ordinal, posting, decision in fresh if not recorded[ordinal].recorded]
    conflicts = frozenset(ordinal for ordinal, row in recorded.items() if row.conflict)
    # The debits after a lost one were decided as if it had been booked; and with a conflict nothing at all was recorded.
    overtaken = conflicts or frozenset(ordinal for ordinal, posting, decision in lost if posting.is_debit and decision.posted)
    if overtaken and len(fresh) > 1:
        raise _OvertakenError(overtaken)
    return [
        (
            ordinal,
            TransactionConflictError(transaction_id=posting.request.transaction_id)
            if ordinal in conflicts
            else await _decided_elsewhere(connection, posting, decision),
        )
        for ordinal, posting, decision in lost
    ]


async def _open(connection: AsyncConnection, postings: Sequence[Posting]) -> Sequence[Row[Any]]:
    opened = await connection.execute(
        _OPEN_LEGS,
        {
            "tenants": [posting.request.tenant for posting in postings],
            "account_ids": [posting.account_id for posting in postings],
            "transaction_ids": [posting.request.transaction_id for posting in postings],
            "legs": [posting.leg.value for posting in postings],
            "debits": [posting.is_debit for posting in postings],
        },
    )
    return opened.all()


def _known(posting: Posting, opened: Row[Any]) -> Decision | CasaflowError | None:
    """The stored answer, or why the leg can't be decided; None when it can."""
    if opened.fingerprint is not None and opened.fingerprint != posting.request.fingerprint:
        return TransactionConflictError(transaction_id=posting.request.transaction_id)
    if opened.currency is None:
        return UnknownAccountError(field="creditor" if posting.leg is LegName.CREDIT else "debtor", account_id=posting.account_id)
    if opened.currency != posting.amount.currency:
        # The request's validation excludes it, and an account's currency never changes.
        message = f"account {posting.account_id} is kept in {opened.currency}, not {posting.amount.currency}"
        return LedgerIntegrityError(message)
    return decision_from_row(opened.stored) if opened.stored is not None else None


def decide(posting: Posting, opened: Row[Any], debtors: dict[tuple[str, str], DebtorState]) -> Decision:
    """Decide a leg on the state that ``open_legs`` read under its locks.

    Args:
        posting: the leg.
        opened: its row.
        debtors: the states after the batch's earlier debits, by tenant and account; a posted debit moves its own on.
    """
    status = AccountStatus(opened.status)
    after: DebtorState | None = None
    if posting.is_debit:
        key = (posting.request.tenant, posting.account_id)
        state = debtors.get(key) or _debtor_state(posting, opened)
        refusal = debit_refusal(state, posting.amount.minor_units)
        after = None if refusal else state.after_debit(posting.amount.minor_units)
        debtors[key] = after or state
    elif posting.leg is LegName.COMPENSATION:
        refusal = None  # It gives back what this transaction took: no status may stand in the way.
    else:
        refusal = credit_refusal(status, posting.account_id)
    return Decision(
        leg=posting.leg,
        account_id=posting.account_id,
        outcome=Outcome.REFUSED if refusal else Outcome.POSTED,
        amount=posting.amount,
        conversion=posting.conversion,
        value_date=posting.value_date,
        decided_at=opened.decided_at,
        refusal=refusal,
        version=after.version if after else None,
        ledger_after=after.ledger if after else None,
        available_after=after.available if after else None,
    )


def _debtor_state(posting: Posting, opened: Row[Any]) -> DebtorState:
    return DebtorState(
        account_id=posting.account_id,
        currency=opened.currency,
        status=AccountStatus(opened.status),
        overdraft_limit=opened.overdraft_limit,
        ledger=int(opened.ledger),
        held=int(opened.held),
        version=opened.version,
    )


def _batch_record(fresh: Sequence[tuple[int, Posting, Decision]]) -> dict[str, str]:
    """The arguments of ``record_legs``."""
    return {
        "legs": to_jsonb([_leg_record(ordinal, posting, decision) for ordinal, posting, decision in fresh]),
        "gl": to_jsonb(
            [
                {"ordinal": ordinal, "account_id": entry.account, "currency": entry.amount.currency, "amount": entry.amount.minor_units}
                for ordinal, posting, decision in fresh
                if decision.posted
                for entry in gl_entries(posting)
            ]
        ),
        "events": to_jsonb(
            [
                {"ordinal": ordinal, "position": position, **vars(event)}
                for ordinal, posting, decision in fresh
                for position, event in enumerate(events_of_leg(posting, decision))
            ]
        ),
    }


def _leg_record(ordinal: int, posting: Posting, decision: Decision) -> dict[str, Any]:
    """One element of ``record_legs``' legs."""
    status = posting.status_if_posted if decision.posted else posting.status_if_refused
    reason = posting.because or decision.refusal
    return {
        "ordinal": ordinal,
        **_transaction_columns(posting.request),
        "status": status,
        "transaction_reason": reason.model_dump(mode="json") if reason and status is not TransactionStatus.COMPLETED else None,
        "finished_at": decision.decided_at.isoformat() if status in FINAL_STATUSES else None,
        "account_id": decision.account_id,
        "leg": decision.leg,
        "debit": posting.is_debit,
        "outcome": decision.outcome,
        "reason": decision.refusal.model_dump(mode="json") if decision.refusal else None,
        "amount": decision.amount.minor_units,
        "currency": decision.amount.currency,
        "conversion": decision.conversion.model_dump(mode="json") if decision.conversion else None,
        "value_date": decision.value_date.isoformat(),
        "decided_at": decision.decided_at.isoformat(),
        "version": decision.version,
        "ledger_after": decision.ledger_after,
        "available_after": decision.available_after,
    }


def _transaction_columns(request: TransactionRequest) -> dict[str, Any]:
    return {
        "tenant": request.tenant,
        "transaction_id": request.transaction_id,
        "fingerprint": request.fingerprint,
        "kind": request.kind,
        "debtor": request.debtor.account_id if request.debtor else None,
        "creditor": request.creditor.account_id if request.creditor else None,
        "request": request.model_dump(mode="json"),
        "submitted_by": request.submitted_by,
        "submitted_at": request.submitted_at.isoformat(),
    }


async def _decided_elsewhere(connection: AsyncConnection, posting: Posting, undone: Decision) -> Decision | CasaflowError:
    """What stands instead of a decision that ``record_legs`` did not record."""
    request = posting.request
    key = {"tenant": request.tenant, "account_id": posting.account_id, "transaction_id": request.transaction_id, "leg": posting.leg}
    stored = (await connection.execute(_STORED_DECISION, key)).scalar_one_or_none()
    if stored is not None:
        return decision_from_row(stored)
    transaction = await find_transaction(connection, request.tenant, request.transaction_id)
    if transaction is None or transaction.finished_at is None or transaction.result.status is not TransactionStatus.REJECTED:
        message = f"the {posting.leg} leg of transaction {request.transaction_id} comes after the transaction's end"
        return LedgerIntegrityError(message)
    # A rejection came first, so nothing may be posted any more: the leg is refused for the transaction's reason.
    return undone.model_copy(
        update={
            "outcome": Outcome.REFUSED,
            "refusal": transaction.result.reason,
            "decided_at": transaction.finished_at,
            "version": None,
            "ledger_after": None,
            "available_after": None,
        }
    )


async def reject_on(connection: AsyncConnection, rejection: Rejection) -> TransactionResult:
    """Record an outcome without any leg on a connection that somebody else commits, or rolls back.

    Raises:
        TransactionConflictError: the id was used before with other content.
        sqlalchemy.exc.DBAPIError: as the driver raised it.
    """
    request = rejection.request
    columns = _transaction_columns(request)
    inserted = await connection.execute(
        _INSERT_REJECTED,
        {
            **columns,
            "request": to_jsonb(columns["request"]),
            "submitted_at": request.submitted_at,
            "reason": to_jsonb(rejection.refusal.model_dump(mode="json")),
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
