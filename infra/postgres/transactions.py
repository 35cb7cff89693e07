"""Look-ups of transactions, and the table of idempotency keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from infra.postgres.group_commit import Lane
from infra.postgres.json import from_jsonb
from ledger.commands import OperatorAction
from ledger.decisions import Decision, LegName, Outcome
from ledger.errors import IdempotencyKeyConflictError
from ledger.money import Money
from ledger.rates import Conversion
from ledger.refusals import Refusal
from ledger.requests import Override, TransactionRequest
from ledger.results import TransactionRecord, TransactionResult, TransactionStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.postgres.database import Database

_FIND = text("""
    SELECT b.number, CAST(t.transaction_id AS text) AS transaction_id, t.request, t.fingerprint, t.status,
           -- A completed transaction may have been refused on its way; that is told by its legs.
           CASE WHEN t.status <> 'completed' THEN t.reason END AS reason, t.finished_at, t.reversed_amount,
           (SELECT coalesce(jsonb_agg(to_jsonb(o) ORDER BY o.position), '[]')
              FROM operator_action o WHERE o.tenant = t.tenant AND o.transaction_id = t.transaction_id) AS actions,
           (SELECT coalesce(jsonb_agg(to_jsonb(d)
                                      ORDER BY array_position(ARRAY['debit', 'fee', 'credit', 'compensation'], d.leg), d.decided_at), '[]')
              FROM decision d
             WHERE d.tenant = t.tenant AND d.account_id IN (
                   SELECT a.account_id FROM transaction_accounts(t.request) AS a
                    UNION
                   SELECT o.detail ->> 'account_id' FROM operator_action o
                    WHERE o.tenant = t.tenant AND o.transaction_id = t.transaction_id AND o.action = 'settle_to')
               AND d.transaction_id = t.transaction_id) AS legs
      FROM unnest(CAST(:tenants AS text[]), CAST(:transaction_ids AS uuid[])) WITH ORDINALITY AS b (tenant, transaction_id, number)
      JOIN transaction t USING (tenant, transaction_id)
""")
_CLAIM_KEY = text("""
    INSERT INTO idempotency_key (tenant, principal, idempotency_key, request_hash, transaction_id)
    VALUES (:tenant, :principal, :key, :request_hash, CAST(:transaction_id AS uuid))
    ON CONFLICT DO NOTHING
""")
_READ_KEY = text("""
    SELECT request_hash, CAST(transaction_id AS text) AS transaction_id FROM idempotency_key
     WHERE tenant = :tenant AND principal = :principal AND idempotency_key = :key
""")

MAX_BATCH: Final = 100
"""Transactions that are looked for together, at most."""
_MAX_WAITING: Final = 10_000


class PostgresTransactions:
    """Transactions as the ledger keeps them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Every request is looked for before it is carried out, so those that come together are looked for together.
        self._look_ups: Lane[tuple[str, str], TransactionRecord | None] = Lane(self._look_up, max_batch=MAX_BATCH, max_waiting=_MAX_WAITING)

    async def get(self, tenant: str, transaction_id: str) -> TransactionRecord | None:
        """The transaction, or None when nothing of it was recorded (yet).

        Raises:
            UnavailableError: the database did not answer.
        """
        return await self._look_ups.submit((tenant, transaction_id))

    async def _look_up(
        self, transactions: Sequence[tuple[str, str]], _next_may_begin: Callable[[], None]
    ) -> list[TransactionRecord | None]:
        async def work(connection: AsyncConnection) -> list[TransactionRecord | None]:
            return await find_transactions(connection, transactions)

        return await self._database.run_statement(work)

    async def claim_idempotency_key(self, *, tenant: str, principal: str, key: str, request_hash: str, transaction_id: str) -> str:
        """Bind an idempotency key to a request and its transaction id, or find what it is bound to.

        Returns:
            The transaction id that the key stands for.

        Raises:
            IdempotencyKeyConflictError: the key is bound to another request.
            UnavailableError: the database did not answer.
        """
        claim = {"tenant": tenant, "principal": principal, "key": key, "request_hash": request_hash, "transaction_id": transaction_id}

        async def work(connection: AsyncConnection) -> str:
            await connection.execute(_CLAIM_KEY, claim)
            bound = (await connection.execute(_READ_KEY, {"tenant": tenant, "principal": principal, "key": key})).mappings().one()
            if bound["request_hash"] != request_hash:
                raise IdempotencyKeyConflictError(idempotency_key=key)
            return str(bound["transaction_id"])

        return await self._database.run(work)


async def find_transaction(connection: AsyncConnection, tenant: str, transaction_id: str) -> TransactionRecord | None:
    """The transaction with its legs, read on a connection that somebody else commits."""
    (found,) = await find_transactions(connection, [(tenant, transaction_id)])
    return found


async def find_transactions(connection: AsyncConnection, transactions: Sequence[tuple[str, str]]) -> list[TransactionRecord | None]:
    """Transactions by tenant and id, with their legs, read on a connection that somebody else commits; None where there is none."""
    asked = {"tenants": [tenant for tenant, _ in transactions], "transaction_ids": [identifier for _, identifier in transactions]}
    found: list[TransactionRecord | None] = [None] * len(transactions)
    for row in (await connection.execute(_FIND, asked)).mappings():
        found[row["number"] - 1] = _record_from_row(dict(row))
    return found


def _record_from_row(row: Mapping[str, Any]) -> TransactionRecord:
    request = from_jsonb(TransactionRequest, row["request"])
    if request is None:
        message = f"transaction {row['transaction_id']} has no request"
        raise ValueError(message)
    result = TransactionResult(
        transaction_id=row["transaction_id"],
        status=TransactionStatus(row["status"]),
        reason=from_jsonb(Refusal, row["reason"]),
        legs=tuple(decision_from_row(leg) for leg in row["legs"]),
    )
    names = ("fingerprint", "finished_at", "reversed_amount")
    actions = tuple(OperatorAction.model_validate(action) for action in row["actions"])
    return TransactionRecord(request=request, result=result, actions=actions, **{name: row[name] for name in names})


def decision_from_row(row: Mapping[str, Any]) -> Decision:
    """The decision that a row of the table ``decision`` (as ``to_jsonb`` gives it) holds."""
    return Decision(
        leg=LegName(row["leg"]),
        account_id=row["account_id"],
        outcome=Outcome(row["outcome"]),
        amount=Money(minor_units=row["amount"], currency=row["currency"]),
        conversion=from_jsonb(Conversion, row["conversion"]),
        value_date=row["value_date"],
        decided_at=row["decided_at"],
        refusal=from_jsonb(Refusal, row["reason"]),
        version=row["version"],
        ledger_after=row["ledger_after"],
        available_after=row["available_after"],
        hold_id=row["hold_id"],
        override=from_jsonb(Override, row["override"]),
    )
