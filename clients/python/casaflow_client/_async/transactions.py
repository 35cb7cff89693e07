"""Transactions: submit, look at, decide, reverse; what operators do with parked ones."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from casaflow_client import models
from casaflow_client._async.transport import AsyncTransport
from casaflow_client._clock import async_sleep
from casaflow_client.errors import UnavailableError
from casaflow_client.requests import Body, body_of, preferring, query, uuid_segment

_UNDER_WAY = "processing"
_FIRST_LOOK_SECONDS = 0.1
_LONGEST_LOOK_SECONDS = 2.0


class AsyncTransactions(AsyncTransport):
    """What concerns transactions. `wait_seconds` is how long the API waits for the final answer before it gives the one so far."""

    async def submit(self, transaction: models.TransactionRequest | Body, *, wait_seconds: float = 0) -> models.Transaction:
        """Submit a transaction; the same id never runs twice, and a repeat has the first one's outcome.

        Without an id it gets one here, so that it may be repeated. A rejection is an outcome: look at ``status`` and ``reason``.

        Raises:
            ConflictError: the id is in use with other content.
            InvalidRequestError: a field breaks a rule.
        """
        body = body_of(transaction) or {}
        body.setdefault("transaction_id", str(uuid4()))
        return await self._ask("POST", "/v1/transactions", models.Transaction, body=body, headers=preferring(wait_seconds))

    async def submit_batch(
        self,
        transactions: Sequence[models.TransactionRequest | Body],
        *,
        wait_seconds: float = 0,
    ) -> list[models.BatchResult]:
        """Submit up to 100 transactions that have nothing to do with each other; one result for each, in their order.

        Those without an id get one here, so that the batch may be repeated.
        """
        bodies = [{"transaction_id": str(uuid4()), **(body_of(transaction) or {})} for transaction in transactions]
        answer = await self._ask(
            "POST", "/v1/transactions/batch", models.Batch, body={"transactions": bodies}, headers=preferring(wait_seconds)
        )
        return answer.results

    async def transactions(  # noqa: PLR0913  the query's own parameters
        self,
        *,
        account_id: str | None = None,
        status: str | None = None,
        kind: str | None = None,
        currency: str | None = None,
        amount: Decimal | str | None = None,
        amount_min: Decimal | str | None = None,
        amount_max: Decimal | str | None = None,
        submitted_from: dt.datetime | str | None = None,
        submitted_to: dt.datetime | str | None = None,
        reference: str | None = None,
        reason: str | None = None,
        submitted_by: str | None = None,
        order: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> models.Transactions:
        """One page of the transactions that all given conditions hold for, the newest first unless said otherwise.

        One that waits for its first posting is found by its id alone.
        """
        parameters = query(
            account_id=account_id,
            status=status,
            kind=kind,
            currency=currency,
            amount=amount,
            amount_min=amount_min,
            amount_max=amount_max,
            submitted_from=submitted_from,
            submitted_to=submitted_to,
            reference=reference,
            reason=reason,
            submitted_by=submitted_by,
            order=order,
            limit=limit,
            cursor=cursor,
        )
        return await self._ask("GET", "/v1/transactions", models.Transactions, parameters=parameters)

    async def transaction(self, transaction_id: str | UUID) -> models.Transaction:
        """A transaction as it stands.

        Raises:
            NotFoundError: there is none with this id.
        """
        return await self._ask("GET", _path(transaction_id), models.Transaction)

    async def outcome(self, transaction_id: str | UUID, *, within_seconds: float = 60) -> models.Transaction:
        """A transaction once it is under way no longer: it has its final status, or stands parked for an operator.

        Raises:
            UnavailableError: it was still under way at the end of that time.
        """
        began, pause = time.monotonic(), _FIRST_LOOK_SECONDS
        while True:
            found = await self.transaction(transaction_id)
            if found.status != _UNDER_WAY:
                return found
            if time.monotonic() - began + pause > within_seconds:
                message = f"transaction {transaction_id} was still under way after {within_seconds:g} s"
                raise UnavailableError(message)
            await async_sleep(pause)
            pause = min(2 * pause, _LONGEST_LOOK_SECONDS)

    async def explanation(self, transaction_id: str | UUID) -> models.Explanation:
        """What became of a transaction, from the request to the last consumer."""
        return await self._ask("GET", f"{_path(transaction_id)}/explanation", models.Explanation)

    async def reverse(
        self, transaction_id: str | UUID, reversal: models.ReversalRequest | Body | None = None, *, wait_seconds: float = 0
    ) -> models.Transaction:
        """Take a transaction back, or a part of it, by a transaction of its own that names it.

        A part without an id of its own gets one here, so that it may be repeated.

        Raises:
            ConflictError: it can't be reversed.
        """
        body = body_of(reversal) or {}
        if body.get("amount") is not None:
            body.setdefault("transaction_id", str(uuid4()))
        return await self._tell(transaction_id, "reverse", body, wait_seconds)

    async def approve(self, transaction_id: str | UUID, reason: str | None = None, *, wait_seconds: float = 0) -> models.Transaction:
        """Let a transaction go on that waits for somebody's consent."""
        return await self._tell(transaction_id, "approve", _because(reason), wait_seconds)

    async def decline(self, transaction_id: str | UUID, reason: str | None = None, *, wait_seconds: float = 0) -> models.Transaction:
        """Refuse a transaction that waits for somebody's consent."""
        return await self._tell(transaction_id, "decline", _because(reason), wait_seconds)

    async def cancel(self, transaction_id: str | UUID, reason: str | None = None, *, wait_seconds: float = 0) -> models.Transaction:
        """End a transaction before its posting has begun.

        Raises:
            ConflictError: it has begun.
        """
        return await self._tell(transaction_id, "cancel", _because(reason), wait_seconds)

    async def retry(self, transaction_id: str | UUID, reason: str, *, wait_seconds: float = 0) -> models.Transaction:
        """Have a parked transaction try again what it is parked at."""
        return await self._tell(transaction_id, "retry", {"reason": reason}, wait_seconds)

    async def settle(self, transaction_id: str | UUID, creditor: str, reason: str, *, wait_seconds: float = 0) -> models.Transaction:
        """Have a parked transfer credit another account."""
        return await self._tell(transaction_id, "settle", {"creditor": creditor, "reason": reason}, wait_seconds)

    async def _tell(self, transaction_id: str | UUID, what: str, body: dict[str, Any] | None, wait_seconds: float) -> models.Transaction:
        return await self._ask("POST", f"{_path(transaction_id)}/{what}", models.Transaction, body=body, headers=preferring(wait_seconds))


def _because(reason: str | None) -> dict[str, Any] | None:
    return None if reason is None else {"reason": reason}


def _path(transaction_id: str | UUID) -> str:
    return f"/v1/transactions/{uuid_segment(transaction_id, field='transaction_id')}"
