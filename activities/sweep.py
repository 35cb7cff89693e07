"""The sweep's service: finds transactions and holds that nobody carries any more, and runs that no worker serves."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

from temporalio import activity

from activities.call import errors_as_temporals
from ledger.settlements import AbandonedHold, AbandonedTransaction, MovedRun, SweepFindings, SweepHoldFindings, SweepOrder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from ledger.ports import HoldRuns, TransactionRuns, UnsettledTransactions, UntoldHolds, WorkerVersions

MAX_FINDINGS_BYTES: Final = 1_000_000
"""What an activity answers stands in the history, which takes 2 MB at once; a request with 255 creditors has some 50 kB."""
_AT_ONCE: Final = 500


class SweepActivities:
    """Compares what the ledger has with what Temporal carries."""

    def __init__(
        self, ledger: UnsettledTransactions, runs: TransactionRuns, holds: UntoldHolds, hold_runs: HoldRuns, versions: WorkerVersions | None
    ) -> None:
        """Take what it compares; `versions` is None where workers have none."""
        self._ledger = ledger
        self._runs = runs
        self._holds = holds
        self._hold_runs = hold_runs
        self._versions = versions

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

    @activity.defn(name="sweep.find_holds")
    async def find_holds(self, order: SweepOrder) -> SweepHoldFindings:
        """Holds that no workflow watches, and of whose expiry no event tells, or whose events nobody publishes.

        Raises:
            ApplicationError: UnavailableError, retryable: the ledger or Temporal did not answer.
        """
        with errors_as_temporals():
            older_than = dt.timedelta(seconds=order.older_than_seconds)
            # Of so many, those that a workflow watches are waiting for a part that is away, and starting others would not help.
            untold = {(each.tenant, each.hold_id): each for each in await self._holds.untold(older_than=older_than, at_most=_AT_ONCE)}
            not_carried = await self._hold_runs.holds_not_carried(untold)
            found = [AbandonedHold(request=untold[key], found=not_carried[key]) for key in untold if key in not_carried]
            return SweepHoldFindings(abandoned=tuple(found[: order.holds_at_most]), more=len(found) > order.holds_at_most)

    @activity.defn(name="sweep.move_unserved")
    async def move_unserved(self, order: SweepOrder) -> tuple[MovedRun, ...]:
        """Have the current version of the workers carry on with runs of versions that nobody serves any more, so many at most.

        Raises:
            ApplicationError: UnavailableError, retryable: Temporal did not answer.
        """
        with errors_as_temporals():
            if self._versions is None:
                return ()
            return tuple(await self._versions.move_unserved(at_most=order.moves_at_most))

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
