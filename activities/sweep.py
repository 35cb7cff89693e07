"""The sweep's service: finds transactions that nobody carries any more."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

from temporalio import activity

from activities.call import errors_as_temporals
from ledger.settlements import AbandonedTransaction, SweepFindings, SweepOrder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from ledger.ports import TransactionRuns, UnsettledTransactions

MAX_FINDINGS_BYTES: Final = 1_000_000
"""What an activity answers stands in the history, which takes 2 MB at once; a request with 255 creditors has some 50 kB."""
_AT_ONCE: Final = 500


class SweepActivities:
    """Compares what the ledger has with what Temporal carries."""

    def __init__(self, ledger: UnsettledTransactions, runs: TransactionRuns) -> None:
        self._ledger = ledger
        self._runs = runs

    @activity.defn(name="sweep.find")
    async def find(self, order: SweepOrder) -> SweepFindings:
        """Transactions that no workflow carries, and that have no outcome, or events that nobody publishes.

        Raises:
            ApplicationError: UnavailableError, retryable: the ledger or Temporal did not answer.
        """
        with errors_as_temporals():
            found: dict[tuple[str, str], AbandonedTransaction] = {}
            size = 0
            async for transaction in self._abandoned(dt.timedelta(seconds=order.older_than_seconds)):
                size += len(transaction.request.model_dump_json())
                if len(found) == order.at_most or (found and size > MAX_FINDINGS_BYTES):
                    return SweepFindings(abandoned=tuple(found.values()), more=True)
                found[transaction.request.tenant, transaction.request.transaction_id] = transaction
            return SweepFindings(abandoned=tuple(found.values()))

    async def _abandoned(self, older_than: dt.timedelta) -> AsyncIterator[AbandonedTransaction]:
        # What the ledger has begun, or ended without telling anybody.
        async for page in self._ledger.unsettled(older_than=older_than, at_once=_AT_ONCE):
            async for transaction in self._of(page):
                yield transaction
        # What Temporal has given up, and the ledger may never have heard of.
        async for page in self._runs.given_up_transactions(older_than=older_than, at_once=_AT_ONCE):
            settled = await self._ledger.settled(page)
            async for transaction in self._of([key for key in page if key not in settled]):
                yield transaction

    async def _of(self, keys: Sequence[tuple[str, str]]) -> AsyncIterator[AbandonedTransaction]:
        not_carried = await self._runs.not_carried(keys)
        # Read again after Temporal was asked: what was settled in the meantime is abandoned no more.
        settled = await self._ledger.settled(not_carried)
        for key, status in sorted(not_carried.items()):
            request = None if key in settled else await self._ledger.request(*key) or await self._runs.request(*key)
            if request is not None:
                yield AbandonedTransaction(request=request, found=status)
