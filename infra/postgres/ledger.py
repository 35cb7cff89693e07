"""The CASA ledger on PostgreSQL: one database transaction for each batch of legs, in two calls and a commit.

See ``docs/decisions/0003-posting-in-two-round-trips.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from infra.postgres.json import to_jsonb
from infra.postgres.transactions import decision_from_row, find_transaction
from ledger.accounts import AccountStatus, DebtorState, credit_refusal, debit_refusal
from ledger.decisions import Decision, LegName, Outcome
from ledger.errors import LedgerIntegrityError, TransactionConflictError, UnknownAccountError
from ledger.events import Event, events_of_leg, transaction_finished
from ledger.postings import gl_entries
from ledger.results import FINAL_STATUSES, TransactionResult, TransactionStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import RowMapping
    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.postgres.database import Database
    from ledger.postings import Posting
    from ledger.requests import TransactionRequest
    from ledger.results import Rejection

_OPEN_LEGS = text("""
    SELECT * FROM open_legs(CAST(:tenants AS text[]), CAST(:account_ids AS text[]), CAST(:transaction_ids AS uuid[]),
                            CAST(:legs AS text[]), CAST(:debits AS boolean[]))
""")
_RECORD_LEGS = text("SELECT ordinal, conflict, recorded FROM record_legs(CAST(:legs AS jsonb))")
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


class PostgresLedger:
    """Decides legs by the rules of ``ledger``, under PostgreSQL's locks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def post(self, posting: Posting) -> Decision:
        """Decide and book one leg; see :meth:`ledger.ports.CasaLedger.post`."""

        async def work(connection: AsyncConnection) -> Decision:
            return await post_on(connection, posting)

        return await self._database.run(work)

    async def reject(self, rejection: Rejection) -> TransactionResult:
        """Record an outcome without any leg; see :meth:`ledger.ports.CasaLedger.reject`."""

        async def work(connection: AsyncConnection) -> TransactionResult:
            return await reject_on(connection, rejection)

        return await self._database.run(work)


async def post_on(connection: AsyncConnection, posting: Posting) -> Decision:
    """Decide and book one leg on a connection that somebody else commits, or rolls back.

    Raises:
        TransactionConflictError: the id was used before with other content.
        UnknownAccountError: there is no such account.
        sqlalchemy.exc.DBAPIError: as the driver raised it.
    """
    (opened,) = await _open(connection, [posting])
    stored = _stored_or_conflict(posting, opened)
    if stored is not None:
        return stored
    decision = decide(posting, dict(opened))
    recorded = await connection.execute(_RECORD_LEGS, {"legs": to_jsonb([_leg_record(0, posting, decision)])})
    (row,) = recorded.mappings().all()
    if row["conflict"]:
        raise TransactionConflictError(transaction_id=posting.request.transaction_id)
    return decision if row["recorded"] else await _decided_elsewhere(connection, posting, decision)


async def _open(connection: AsyncConnection, postings: Sequence[Posting]) -> Sequence[RowMapping]:
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
    return opened.mappings().all()


def _stored_or_conflict(posting: Posting, opened: RowMapping) -> Decision | None:
    if opened["fingerprint"] not in (None, posting.request.fingerprint):
        raise TransactionConflictError(transaction_id=posting.request.transaction_id)
    if opened["currency"] is None:
        field = "creditor" if posting.leg is LegName.CREDIT else "debtor"
        raise UnknownAccountError(field=field, account_id=posting.account_id)
    return decision_from_row(opened["stored"]) if opened["stored"] is not None else None


def decide(posting: Posting, opened: Mapping[str, Any]) -> Decision:
    """Decide a leg on the state that ``open_legs`` read under its locks. Pure.

    Raises:
        ValueError: the posting's currency isn't the account's, which the request's validation excludes.
    """
    if opened["currency"] != posting.amount.currency:
        message = f"account {posting.account_id} is kept in {opened['currency']}, not {posting.amount.currency}"
        raise ValueError(message)
    status = AccountStatus(opened["status"])
    after: DebtorState | None = None
    if posting.is_debit:
        state = DebtorState(
            account_id=posting.account_id,
            currency=opened["currency"],
            status=status,
            overdraft_limit=opened["overdraft_limit"],
            ledger=int(opened["ledger"]),
            held=int(opened["held"]),
            version=opened["version"],
        )
        refusal = debit_refusal(state, posting.amount.minor_units)
        after = None if refusal else state.after_debit(posting.amount.minor_units)
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
        decided_at=opened["decided_at"],
        refusal=refusal,
        version=after.version if after else None,
        ledger_after=after.ledger if after else None,
        available_after=after.available if after else None,
    )


def _leg_record(ordinal: int, posting: Posting, decision: Decision) -> dict[str, Any]:
    """One element for ``record_legs``."""
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
        "gl": [
            {"account_id": entry.account, "currency": entry.amount.currency, "amount": entry.amount.minor_units}
            for entry in gl_entries(posting)
        ],
        "events": [
            {**event.model_dump(mode="json"), "position": position} for position, event in enumerate(events_of_leg(posting, decision))
        ],
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


async def _decided_elsewhere(connection: AsyncConnection, posting: Posting, undone: Decision) -> Decision:
    """What stands instead of a decision that ``record_legs`` did not record."""
    request = posting.request
    key = {"tenant": request.tenant, "account_id": posting.account_id, "transaction_id": request.transaction_id, "leg": posting.leg}
    stored = (await connection.execute(_STORED_DECISION, key)).scalar_one_or_none()
    if stored is not None:
        return decision_from_row(stored)
    transaction = await find_transaction(connection, request.tenant, request.transaction_id)
    if transaction is None or transaction.finished_at is None or transaction.result.status is not TransactionStatus.REJECTED:
        message = f"the {posting.leg} leg of transaction {request.transaction_id} comes after the transaction's end"
        raise LedgerIntegrityError(message)
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
