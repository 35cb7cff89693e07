"""Ports: what the activities need from the world. ``infra`` has the real parts; a workflow test may use fakes that return at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from ledger.decisions import Decision
    from ledger.events import Event
    from ledger.postings import LinkedPosting, Posting
    from ledger.rates import ExchangeRate
    from ledger.results import Rejection, TransactionResult


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


class EventOutbox(Protocol):
    """Events that were stored with the legs and wait to be published."""

    async def unpublished(self, tenant: str, transaction_id: str) -> tuple[Event, ...]:
        """Events of a transaction that aren't marked as published, in the order in which they were stored.

        Raises:
            UnavailableError: the database did not answer.
        """
        ...

    async def mark_published(self, events: Sequence[Event]) -> None:
        """Mark events as published; marking twice changes nothing.

        Raises:
            UnavailableError: the database did not answer.
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
