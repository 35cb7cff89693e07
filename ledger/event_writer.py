"""Writes the events of a transaction by hand, to the byte as the models of :mod:`ledger.events` would, in a fraction of their time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pydantic_core import to_json

from ledger.currencies import exponent_of
from ledger.events import (
    CREDITED_V1,
    DEBITED_V1,
    FINISHED_TYPES,
    TOPIC_BALANCE_UPDATED,
    TOPIC_TRANSACTION_FINISHED,
    ConversionDetails,
    Event,
    Instruction,
    Reason,
    settlement_told,
)
from ledger.ids import event_id
from ledger.money import decimal_text
from ledger.results import FINAL_STATUSES, TransactionStatus

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from ledger.decisions import Decision, LegName
    from ledger.money import Money
    from ledger.postings import Posting
    from ledger.rates import Conversion
    from ledger.refusals import Refusal
    from ledger.requests import TransactionRequest
    from ledger.results import TransactionResult


def events_of_leg(posting: Posting, decision: Decision) -> tuple[Event, ...]:
    """The events that must be stored with a decision: the leg's own if it was posted, and the transaction's if it ends with it."""
    status = posting.status_if_posted if decision.posted else posting.status_if_refused
    reason = posting.because or decision.refusal
    written = EventWriter(posting.request).events([decision], status=status, reason=reason, earlier=posting.earlier)
    return tuple(Event.model_validate(event._asdict()) for event in written)


def transaction_finished(request: TransactionRequest, result: TransactionResult, *, finished_at: dt.datetime) -> Event:
    """The transaction's own event.

    Raises:
        KeyError: the result isn't final.
    """
    return Event.model_validate(EventWriter(request).finished(result, finished_at)._asdict())


class WrittenEvent(NamedTuple):
    """An :class:`Event` as texts only, in the order of its fields."""

    event_id: str
    topic: str
    key: str
    type: str
    source: str
    subject: str
    time: str
    """ISO 8601."""
    data: str


class _LegTexts(NamedTuple):
    """What the events say of a leg before it is decided."""

    amount: Money
    conversion: Conversion | None
    balance_updated: str
    """The event's data up to the booking time."""
    before_outcome: str
    """Its place in the transaction's own event, up to the outcome; then up to the time of the decision."""
    after_outcome: str


class EventWriter:
    """Writes the events of one transaction.

    The texts are put together here instead of by the models, which takes a fraction of the time: some are written for each leg. They are
    the same to the byte; `tests/unit/ledger/test_events.py` compares them. What is known before the legs are decided can be written
    before, while others hold the locks.
    """

    __slots__ = ("_ids", "_instruction", "_legs", "_request", "_source")

    def __init__(self, request: TransactionRequest) -> None:
        """Take the request; what it says in every event is written once."""
        self._request = request
        self._instruction = _instruction_json(request)
        self._source = f"/casaflow/tenants/{request.tenant}"
        self._legs: dict[tuple[LegName, str], _LegTexts] = {}
        self._ids: dict[tuple[str, str], str] = {}

    def prepare(self, posting: Posting, *, several: bool) -> None:
        """Write what can be written of a leg that will probably be posted.

        Args:
            posting: the leg.
            several: whether the transaction has several legs of this name.
        """
        account_id = posting.account_id
        self._legs[posting.leg, account_id] = self._leg_texts(
            posting.leg, account_id, posting.amount, posting.conversion, posting.value_date
        )
        self._id(DEBITED_V1 if posting.is_debit else CREDITED_V1, f"{posting.leg.value}/{account_id}" if several else posting.leg.value)
        if posting.status_if_posted is TransactionStatus.COMPLETED:
            self._id(FINISHED_TYPES[TransactionStatus.COMPLETED], "")

    def events(
        self, decisions: Sequence[Decision], *, status: TransactionStatus, reason: Refusal | None, earlier: Sequence[Decision] = ()
    ) -> list[WrittenEvent]:
        """The events that must be stored with decisions that are made together: one for each posted leg, and the transaction's if it ends.

        Args:
            decisions: the legs' decisions, in order.
            status: how the transaction stands after them.
            reason: why, when it is rejected or reversed.
            earlier: decisions of its earlier legs.
        """
        names = [decision.leg for decision in decisions] if len(decisions) > 1 else ()
        texts = [self._texts_of(decision) for decision in decisions]
        times = [decision.decided_at.isoformat() for decision in decisions]
        events = [
            self._balance_updated(decision, written, time, several=names.count(decision.leg) > 1)
            for decision, written, time in zip(decisions, texts, times, strict=True)
            if decision.posted
        ]
        if status in FINAL_STATUSES:
            legs = [_leg_json(*leg) for leg in zip(decisions, texts, times, strict=True)]
            if earlier:
                legs = [*(_leg_json(leg, self._texts_of(leg), leg.decided_at.isoformat()) for leg in earlier), *legs]
            events.append(self._finished(status, reason, legs, times[-1]))
        return events

    def finished(self, result: TransactionResult, finished_at: dt.datetime) -> WrittenEvent:
        """The transaction's own event.

        Raises:
            KeyError: the result isn't final.
        """
        legs = [_leg_json(leg, self._texts_of(leg), leg.decided_at.isoformat()) for leg in result.legs]
        return self._finished(result.status, result.reason, legs, finished_at.isoformat())

    def _finished(self, status: TransactionStatus, reason: Refusal | None, legs: Sequence[str], time: str) -> WrittenEvent:
        data = (
            f'{{"instruction":{self._instruction},"status":"{status.value}","reason":{_reason_json(reason)},"legs":[{",".join(legs)}],'
            f'"finished_at":"{_utc(time)}"}}'
        )
        request = self._request
        event_type = FINISHED_TYPES[status]
        return WrittenEvent(
            self._id(event_type, ""), TOPIC_TRANSACTION_FINISHED, f"{request.tenant}/{request.transaction_id}", event_type, self._source,
            request.transaction_id, time, data,
        )  # fmt: skip

    def _balance_updated(self, decision: Decision, written: _LegTexts, time: str, *, several: bool) -> WrittenEvent:
        currency = decision.amount.currency
        version = decision.version
        data = (
            f'{written.balance_updated}{_utc(time)}","version":{"null" if version is None else version},'
            f'"ledger_balance_after":{_amount_json(decision.ledger_after, currency)},'
            f'"available_balance_after":{_amount_json(decision.available_after, currency)}}}'
        )
        event_type = CREDITED_V1 if version is None else DEBITED_V1
        # Of several legs with one name each is known by its account as well.
        leg = f"{decision.leg.value}/{decision.account_id}" if several else decision.leg.value
        request = self._request
        return WrittenEvent(
            self._id(event_type, leg), TOPIC_BALANCE_UPDATED, f"{request.tenant}/{decision.account_id}", event_type, self._source,
            request.transaction_id, time, data,
        )  # fmt: skip

    def _id(self, event_type: str, leg: str) -> str:
        key = (event_type, leg)
        found = self._ids.get(key)
        if found is None:
            found = self._ids[key] = event_id(self._request.tenant, self._request.transaction_id, event_type, leg)
        return found

    def _texts_of(self, decision: Decision) -> _LegTexts:
        prepared = self._legs.get((decision.leg, decision.account_id))
        # What a leg books may be known only once it is decided.
        if prepared is not None and prepared.amount is decision.amount and prepared.conversion is decision.conversion:
            return prepared
        return self._leg_texts(decision.leg, decision.account_id, decision.amount, decision.conversion, decision.value_date)

    def _leg_texts(self, leg: LegName, account_id: str, amount: Money, conversion: Conversion | None, value_date: dt.date) -> _LegTexts:
        which = f'"leg":"{leg.value}","account_id":{_text_json(account_id)}'
        what = (
            f'"amount":{_amount_json(amount.minor_units, amount.currency)},"conversion":{_conversion_json(conversion)},'
            f'"value_date":"{value_date.isoformat()}"'
        )
        return _LegTexts(
            amount=amount,
            conversion=conversion,
            balance_updated=f'{{"instruction":{self._instruction},{which},{what},"booked_at":"',
            before_outcome=f'{{{which},"outcome":"',
            after_outcome=f'",{what},"decided_at":"',
        )


def _instruction_json(request: TransactionRequest) -> str:
    """What the model Instruction writes."""
    if not request.is_plain:
        return Instruction.of(request).model_dump_json()
    amount = request.amount
    settlement = settlement_told(request)
    later = "" if settlement is None else f',"settlement":"{settlement}"'
    return (
        f'{{"tenant":"{request.tenant}","transaction_id":"{request.transaction_id}","kind":"{request.kind.value}",'
        f'"debtor":{_text_json(request.debtor.account_id if request.debtor else None)},'
        f'"creditor":{_text_json(request.creditor.account_id if request.creditor else None)},'
        f'"instructed":{_amount_json(amount.minor_units, amount.currency)},'
        f'"reference":{_text_json(request.reference)},"remittance_information":{_text_json(request.remittance_information)},'
        f'"metadata":{to_json(request.metadata).decode() if request.metadata else "{}"},'
        f'"submitted_by":{_text_json(request.submitted_by)},"submitted_at":{to_json(request.submitted_at).decode()}'
        f"{later}}}"
    )


def _text_json(text: str | None) -> str:
    return "null" if text is None else to_json(text).decode()


def _leg_json(decision: Decision, written: _LegTexts, time: str) -> str:
    """What the model LegDetails writes."""
    version = "null" if decision.version is None else decision.version
    currency = decision.amount.currency
    later = ""
    if decision.ledger_after is not None:
        later = f',"ledger_balance_after":{_amount_json(decision.ledger_after, currency)}'
    if decision.available_after is not None:
        later += f',"available_balance_after":{_amount_json(decision.available_after, currency)}'
    if decision.refusal is not None:
        later += f',"reason":{_reason_json(decision.refusal)}'
    return f'{written.before_outcome}{decision.outcome.value}{written.after_outcome}{_utc(time)}","version":{version}{later}}}'


def _reason_json(reason: Refusal | None) -> str:
    if reason is None:
        return "null"
    return Reason(code=reason.code, detail=reason.detail, account_id=reason.account_id).model_dump_json()


def _amount_json(minor_units: int | None, currency: str) -> str:
    if minor_units is None:
        return "null"
    return f'{{"value":"{decimal_text(minor_units, exponent_of(currency))}","currency":"{currency}"}}'


def _conversion_json(conversion: Conversion | None) -> str:
    details = ConversionDetails.of(conversion)
    return "null" if details is None else details.model_dump_json()


def _utc(time: str) -> str:
    """ISO 8601 as pydantic writes it: UTC as Z."""
    return f"{time[:-6]}Z" if time.endswith("+00:00") else time
