"""Ports: what the activities need from the world. ``infra`` has the real parts; a workflow test may use fakes that return at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence

    from ledger.commands import OperatorAction
    from ledger.decisions import Decision
    from ledger.events import Event
    from ledger.holds import Hold, HoldRequest
    from ledger.payment_files import FileKey, FileProgress
    from ledger.postings import LinkedPosting, Posting
    from ledger.rates import ExchangeRate
    from ledger.requests import TransactionRequest
    from ledger.results import Rejection, TransactionRecord, TransactionResult
    from ledger.settlements import MovedRun
    from ledger.standing_orders import OrderChange, OrderRun, RunKey, StandingOrder


class ExchangeRates(Protocol):
    """A source of exchange rates."""

    async def quote(self, base: str, quote: str, *, on: dt.date) -> ExchangeRate | None:
        """The newest rate of the pair published on or before the day `on`; None when the source has none.

        Raises:
            UnavailableError: the source did not answer.
        """
        ...


class CasaLedger(Protocol):
    """The CASA ledger: decides and books legs. Every method is safe to repeat with the same arguments."""

    async def post(self, posting: Posting) -> Decision:
        """Decide and book one leg, in one database transaction; a repeat gets the stored decision.

        A transaction that was rejected before takes no leg any more: the answer is a refusal for its reason, and nothing is written.

        Raises:
            TransactionConflictError: the id was used before with other content.
            UnknownAccountError: there is no such account.
            LedgerIntegrityError: the database refused what the rules had allowed.
            UnavailableError: the outcome is unknown; post the same leg again.
        """
        ...

    async def post_linked(self, linked: LinkedPosting) -> TransactionResult:
        """Decide and book all legs of a transaction in one database transaction, all of them or none; a repeat gets the stored result.

        A transaction of which legs were posted one by one before is answered as it stands, which may be `processing`.

        Raises:
            As :meth:`post`.
        """
        ...

    async def reject(self, rejection: Rejection) -> TransactionResult:
        """Record an outcome without any leg, with its event; a repeat, or an id that was settled before, gets the stored result.

        Raises:
            TransactionConflictError: the id was used before with other content.
            UnavailableError: the outcome is unknown; reject again.
        """
        ...

    async def record_action(self, action: OperatorAction) -> None:
        """Record what an operator did; a repeat changes nothing.

        Raises:
            UnavailableError: the outcome is unknown; record it again.
        """
        ...


class UnsettledTransactions(Protocol):
    """What the ledger knows of transactions that have no outcome, or whose events wait. A transaction is known by tenant and id."""

    def unsettled(self, *, older_than: dt.timedelta, at_once: int) -> AsyncIterator[Sequence[tuple[str, str]]]:
        """Transactions without an outcome, or with unpublished events, that were recorded longer ago than `older_than`; so many at once.

        Raises:
            UnavailableError: the database did not answer.
        """
        ...

    async def settled(self, transactions: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """Those of them that have an outcome, and no event that waits.

        Raises:
            UnavailableError: the database did not answer.
        """
        ...

    async def request(self, tenant: str, transaction_id: str) -> TransactionRequest | None:
        """What was asked; None where nothing of it is recorded.

        Raises:
            UnavailableError: the database did not answer.
        """
        ...


class UntoldHolds(Protocol):
    """What the ledger knows of holds whose changes were not told."""

    async def untold(self, *, older_than: dt.timedelta, at_most: int) -> Sequence[HoldRequest]:
        """Holds that expired longer ago than `older_than` and whose event is not stored, then those whose events wait for so long.

        Raises:
            UnavailableError: the database did not answer.
        """
        ...


class HoldRuns(Protocol):
    """What Temporal knows of the workflows that watch holds."""

    async def holds_not_carried(self, holds: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """Those of the holds (tenant and id) that no workflow watches now, with the status that theirs ended in.

        Raises:
            UnavailableError: Temporal did not answer.
        """
        ...


class WorkerVersions(Protocol):
    """The versions of the workers."""

    async def move_unserved(self, *, at_most: int) -> Sequence[MovedRun]:
        """Move so many runs at most, of versions that nobody serves any more, to the current version. Without a current one, none.

        Raises:
            UnavailableError: Temporal did not answer; what was moved stays moved.
        """
        ...


class TransactionRuns(Protocol):
    """What Temporal knows of the workflows that carry transactions."""

    def given_up_transactions(self, *, older_than: dt.timedelta, at_once: int) -> AsyncIterator[Sequence[tuple[str, str]]]:
        """Transactions of workflows that ended without an outcome, longer ago than `older_than`; so many at once.

        Raises:
            UnavailableError: Temporal did not answer.
        """
        ...

    async def not_carried(self, transactions: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """Those of the transactions that no workflow carries or settles now, with the status that theirs ended in.

        Raises:
            UnavailableError: Temporal did not answer.
        """
        ...

    async def request(self, tenant: str, transaction_id: str) -> TransactionRequest | None:
        """What the transaction's workflow was started with; None where Temporal doesn't know it.

        Raises:
            UnavailableError: Temporal did not answer.
        """
        ...


class HoldLedger(Protocol):
    """Holds. Every method is safe to repeat with the same arguments."""

    async def authorise(self, request: HoldRequest) -> tuple[Hold, bool]:
        """Decide a hold, and set its amount aside; a repeat gets the hold as it stands. Whether this call stored it comes with it.

        Raises:
            UnknownAccountError: there is no such account.
            InvalidInputError: the amount, its currency, or the end breaks a rule.
            HoldConflictError: the id was used before with other content.
            UnavailableError: the outcome is unknown; authorise the same hold again.
        """
        ...

    async def get(self, tenant: str, hold_id: str) -> Hold | None:
        """The hold as it stands now, or None.

        Raises:
            UnavailableError: the database did not answer.
        """
        ...

    async def void(self, tenant: str, hold_id: str) -> Hold:
        """Release what an open hold still holds, with its event. Voiding a voided hold changes nothing.

        Raises:
            NotFoundError: there is no such hold.
            HoldNotVoidableError: it was captured or refused, or has expired.
            UnavailableError: the outcome is unknown; void again.
        """
        ...

    async def expire_one(self, tenant: str, hold_id: str) -> Hold:
        """Close a hold that is past its end, with its event; any other stays as it is.

        Raises:
            NotFoundError: there is no such hold.
            UnavailableError: the outcome is unknown; expire it again.
        """
        ...

    async def settled(self, tenant: str, transaction_ids: Sequence[str]) -> tuple[str, ...]:
        """Those of the transactions that are over.

        Raises:
            UnavailableError: the database did not answer.
        """
        ...


class OrderRegister(Protocol):
    """The register of standing orders. Every method is safe to repeat with the same arguments."""

    async def get(self, tenant: str, order_id: str) -> StandingOrder | None:
        """The order, or None.

        Raises:
            UnavailableError: the database did not answer.
        """
        ...

    async def start_run(self, key: RunKey, *, now: dt.datetime) -> OrderRun:
        """Note that an attempt begins, or find it noted, with its outcome if it has one.

        Raises:
            UnavailableError: the database did not answer.
        """
        ...

    async def finish_run(self, key: RunKey, result: TransactionResult, *, now: dt.datetime) -> None:
        """Note an attempt's outcome; the first one stands.

        Raises:
            UnavailableError: the database did not answer.
        """
        ...

    async def change(
        self, tenant: str, order_id: str, change: OrderChange, *, by: str, now: dt.datetime, reason: str | None = None
    ) -> StandingOrder:
        """Pause, resume or end an order, and note who did it. A change that is so already is no change.

        Raises:
            NotFoundError: there is no such order.
            StandingOrderEndedError: it has ended otherwise.
            UnavailableError: the outcome is unknown; change it again.
        """
        ...


class OrderKeeper(Protocol):
    """What wakes standing orders."""

    async def keep(self, tenant: str, order_id: str, *, now: dt.datetime) -> StandingOrder:
        """Bring what wakes an order in line with the register; an order of which nothing is due any more is completed.

        Raises:
            NotFoundError: the register has no such order.
            UnavailableError: a part did not answer; keep it again.
        """
        ...


class PaymentFileReader(Protocol):
    """Validates payment files."""

    async def validate(self, key: FileKey, *, beat: Callable[[int], None]) -> FileProgress:
        """Find all problems of a file, and have it posted or rejected; one that is validated stays as it is.

        Args:
            key: which file.
            beat: told how many lines were read, again and again.

        Raises:
            NotFoundError: there is no such file.
            UnavailableError: the database did not answer; validate it again.
        """
        ...


class PaymentFilePosting(Protocol):
    """Posts the lines of payment files. Safe to repeat, and in several processes at once."""

    async def post_some(self, key: FileKey, *, at_most: int, beat: Callable[[int], None]) -> FileProgress:
        """Post lines until so many are decided, or the file is paused or over.

        Args:
            key: which file.
            at_most: lines.
            beat: told how many lines are decided, again and again.

        Raises:
            NotFoundError: there is no such file.
            UnavailableError: the outcome of the last lines is unknown; go on.
        """
        ...


class TransactionRecords(Protocol):
    """Transactions as the ledger keeps them."""

    async def get(self, tenant: str, transaction_id: str) -> TransactionRecord | None:
        """The transaction, or None when nothing of it was recorded (yet).

        Raises:
            UnavailableError: the database did not answer.
        """
        ...


class EventOutbox(Protocol):
    """Events that were stored with the legs and wait to be published."""

    async def unpublished(self, tenant: str, transaction_id: str) -> tuple[Event, ...]:
        """Events of a transaction that aren't marked as published, in the order in which they were stored.

        Raises:
            UnavailableError: the database did not answer.
        """
        ...

    def note_published(self, events: Sequence[Event]) -> None:
        """Have events marked as published soon, together with others; marking twice changes nothing.

        Nobody waits for that: what a crash leaves unmarked is published once more, under the same ids.
        """
        ...


class EventPublisher(Protocol):
    """Where events go."""

    async def publish(self, events: Sequence[Event]) -> None:
        """Publish events, and return once all replicas in sync have them.

        Raises:
            UnavailableError: at least one event is not known to have arrived; publish all of them again.
        """
        ...
