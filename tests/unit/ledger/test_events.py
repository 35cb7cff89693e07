"""Events: which ones a decision brings, that they are the same on every retry, and that their texts are what the models write."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from ledger.currencies import exponent_of
from ledger.decisions import Decision, LegName, Outcome
from ledger.event_writer import EventWriter, events_of_leg
from ledger.events import (
    CREDITED_V1,
    DEBITED_V1,
    TOPIC_BALANCE_UPDATED,
    TOPIC_TRANSACTION_FINISHED,
    Amount,
    BalanceUpdatedV1,
    ConversionDetails,
    Event,
    Instruction,
    LegDetails,
    Reason,
    TransactionFinishedV1,
)
from ledger.money import MAX_MINOR_UNITS, Money
from ledger.postings import DEBIT_LEGS, Posting, compensation_posting, credit_posting, first_posting
from ledger.rates import Conversion, ExchangeRate, convert
from ledger.refusals import Refusal, RefusalCode
from ledger.requests import AccountRef, Override, Share, TransactionKind, TransactionRequest
from ledger.results import FINAL_STATUSES, TransactionResult, TransactionStatus
from tests.unit.ledger.builders import TODAY, TRANSACTION_ID, posted, rate, refused, request

COMPLETED = "casaflow.accounting.transaction-completed.v1"
REJECTED = "casaflow.accounting.transaction-rejected.v1"
REVERSED = "casaflow.accounting.transaction-reversed.v1"


def data(event: Event) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(event.data)
    return content


def test_a_posted_deposit_brings_its_credit_and_its_completion() -> None:
    posting = first_posting(request(creditor="B"), conversion=None, booking_date=TODAY)
    credited, completed = events_of_leg(posting, posted(LegName.CREDIT, "B", posting.amount))
    assert (credited.topic, credited.type, credited.key) == (TOPIC_BALANCE_UPDATED, CREDITED_V1, "main/B")
    assert (completed.topic, completed.type, completed.key) == (TOPIC_TRANSACTION_FINISHED, COMPLETED, f"main/{TRANSACTION_ID}")
    assert credited.source == "/casaflow/tenants/main"
    assert data(credited)["version"] is None
    assert data(credited)["ledger_balance_after"] is None
    assert data(completed)["status"] == "completed"


def test_a_debit_event_carries_its_version_and_the_balances_after_it() -> None:
    posting = first_posting(request(debtor="A"), conversion=None, booking_date=TODAY)
    debited, _ = events_of_leg(posting, posted(LegName.DEBIT, "A", posting.amount, version=7, ledger_after=-250, available_after=750))
    assert debited.type == DEBITED_V1
    assert data(debited)["version"] == 7
    assert data(debited)["ledger_balance_after"] == {"value": "-2.50", "currency": "EUR"}
    assert data(debited)["available_balance_after"] == {"value": "7.50", "currency": "EUR"}


def test_a_refused_first_leg_brings_only_the_rejection_with_its_reason() -> None:
    posting = first_posting(request(debtor="A", creditor="B"), conversion=None, booking_date=TODAY)
    (rejected,) = events_of_leg(posting, refused(posting))
    assert rejected.type == REJECTED
    assert data(rejected)["reason"] == {"code": "account-frozen", "detail": "account A is frozen", "account_id": "A"}


def test_the_last_event_of_a_compensated_transfer_tells_all_three_legs() -> None:
    debit = first_posting(request(debtor="A", creditor="B"), conversion=None, booking_date=TODAY)
    debited = posted(LegName.DEBIT, "A", debit.amount)
    (only_the_leg,) = events_of_leg(debit, debited)
    credit = credit_posting(debit, debited, conversion=None)
    assert events_of_leg(credit, refused(credit)) == ()
    compensation = compensation_posting(debit, debited, refused(credit))
    credited_back, reversed_ = events_of_leg(compensation, posted(LegName.COMPENSATION, "A", debit.amount))
    assert [event.type for event in (only_the_leg, credited_back, reversed_)] == [DEBITED_V1, CREDITED_V1, REVERSED]
    assert [(leg["leg"], leg["outcome"]) for leg in data(reversed_)["legs"]] == [
        ("debit", "posted"),
        ("credit", "refused"),
        ("compensation", "posted"),
    ]
    assert data(reversed_)["reason"]["code"] == "account-frozen"


def test_events_carry_all_details_of_a_conversion() -> None:
    asked = request(creditor="B:JPY", amount="10.00", reference="INV 7", metadata={"channel": "branch"})
    conversion = convert(asked.amount, rate("EUR", "JPY", "160.12"))
    posting = first_posting(asked, conversion=conversion, booking_date=TODAY)
    credited, _ = events_of_leg(posting, posted(LegName.CREDIT, "B", posting.amount, conversion=conversion))
    told = data(credited)
    assert told["instruction"]["instructed"] == {"value": "10.00", "currency": "EUR"}
    assert told["amount"] == {"value": "1601", "currency": "JPY"}
    assert told["conversion"]["rate"] == "160.12"
    assert told["conversion"]["residual"] == "0.2000"
    assert told["instruction"]["metadata"] == {"channel": "branch"}


@pytest.mark.parametrize("creditor", ["B", "C"])
def test_event_ids_follow_from_transaction_type_and_leg(creditor: str) -> None:
    posting = first_posting(request(creditor=creditor), conversion=None, booking_date=TODAY)
    decision = posted(LegName.CREDIT, creditor, posting.amount)
    assert events_of_leg(posting, decision) == events_of_leg(posting, decision)
    assert len({event.event_id for event in events_of_leg(posting, decision)}) == 2


# ---- the texts are put together by hand: they must be what the models write, to the byte ----

CURRENCIES = ["EUR", "JPY", "BHD", "CZK", "CLF"]
"""With two, no, three and four decimals."""
LATEST = dt.datetime(2400, 1, 1)  # noqa: DTZ001  Hypothesis adds the time zone
texts = st.text(max_size=40) | st.text('\x00\x1f\x7f\u2028"\\/\u20ac\U0001f4b6e', max_size=8)
account_ids = texts.filter(bool)
tenants = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,20}", fullmatch=True)
uuids = st.uuids().map(str)
instants = st.datetimes(
    dt.datetime(1900, 1, 1),  # noqa: DTZ001
    LATEST,
    timezones=st.just(dt.UTC) | st.integers(-1439, 1439).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes))),
)
booked_at = st.datetimes(dt.datetime(1900, 1, 1), LATEST, timezones=st.just(dt.UTC))  # noqa: DTZ001
balances = st.integers(-(10**38), 10**38) | st.integers(-120, 120)


@st.composite
def amounts(draw: st.DrawFn, currency: str | None = None) -> Money:
    units = draw(st.integers(1, MAX_MINOR_UNITS) | st.integers(1, 1_200))
    return Money(minor_units=units, currency=currency or draw(st.sampled_from(CURRENCIES)))


@st.composite
def conversions(draw: st.DrawFn) -> Conversion:
    source = draw(amounts())
    bought = draw(st.sampled_from([currency for currency in CURRENCIES if currency != source.currency]))
    places = draw(st.integers(0, 12))
    quoted = ExchangeRate(
        quote_id=draw(texts),
        base=source.currency,
        quote=bought,
        rate=draw(st.decimals(Decimal("1e-12"), Decimal(10) ** 6, places=places).filter(bool)),
        source=draw(texts),
        as_of=draw(st.dates()),
    )
    return convert(source, quoted)


@st.composite
def requests(draw: st.DrawFn) -> TransactionRequest:
    """Any request that the model takes, with each of its fields used or not."""
    amount = draw(amounts())
    first, second = draw(st.lists(account_ids, min_size=2, max_size=2, unique=True))
    sides: dict[str, Any] = {
        "debtor": AccountRef(account_id=first, currency=amount.currency),
        "creditor": AccountRef(account_id=second, currency=amount.currency),
    }
    kind = draw(st.sampled_from(["transfer", "deposit", "withdrawal", "shares", "reversal"]))
    if kind in {"deposit", "withdrawal"}:
        del sides["debtor" if kind == "deposit" else "creditor"]
    if kind == "shares":
        named = draw(st.lists(account_ids.filter(lambda name: name != first), min_size=1, max_size=4, unique=True))
        parts = [Money(minor_units=draw(st.integers(1, 10**9)), currency=amount.currency) for _ in named]
        amount = Money(minor_units=sum(part.minor_units for part in parts), currency=amount.currency)
        shares = zip(named, parts, strict=True)
        del sides["creditor"]
        sides["shares"] = tuple(Share(account=AccountRef(account_id=name, currency=amount.currency), amount=part) for name, part in shares)
    if "debtor" in sides:
        if kind == "reversal":
            sides["reverses"] = draw(uuids)
        else:
            extra = draw(st.sampled_from([None, "fee", "balancing", "hold_id"]))
            if extra == "fee":
                sides["fee"] = draw(amounts(amount.currency))
            elif extra == "balancing" and kind != "shares":
                sides["balancing"] = True
            elif extra == "hold_id":
                sides |= {"hold_id": draw(uuids), "releases_hold": draw(st.booleans())}
        if draw(st.booleans()):
            sides["override"] = Override(by=draw(texts), reason=draw(texts.filter(bool)))
    if draw(st.booleans()):  # given, and yet not used: the events of such a request are those of one without it
        sides = {"shares": (), "fee": None, "balancing": False, "hold_id": None, "override": None, "reverses": None} | sides
    return TransactionRequest(
        **sides,
        tenant=draw(tenants),
        transaction_id=draw(uuids),
        amount=amount,
        settlement=draw(st.sampled_from(["cash", "clearing"])),
        reference=draw(st.none() | st.text(max_size=35)),
        remittance_information=draw(st.none() | st.text(max_size=140)),
        value_date=draw(st.none() | st.dates()),
        metadata=draw(st.dictionaries(texts, texts, max_size=4)),
        submitted_by=draw(texts),
        submitted_at=draw(instants),
    )


refusals = st.builds(Refusal, code=st.sampled_from(RefusalCode), detail=texts, account_id=st.none() | texts)


@st.composite
def decisions(draw: st.DrawFn) -> Decision:
    leg, is_posted = draw(st.sampled_from(LegName)), draw(st.booleans())
    after = leg in DEBIT_LEGS and is_posted
    return Decision(
        leg=leg,
        account_id=draw(account_ids),
        outcome=Outcome.POSTED if is_posted else Outcome.REFUSED,
        amount=draw(amounts()),
        conversion=draw(st.none() | conversions()),
        value_date=draw(st.dates()),
        decided_at=draw(booked_at),
        refusal=None if is_posted else draw(refusals),
        version=draw(st.integers(1, 2**63 - 1)) if after else None,
        ledger_after=draw(balances) if after else None,
        available_after=draw(balances) if after else None,
    )


def by_the_models(
    asked: TransactionRequest, made: list[Decision], status: TransactionStatus, reason: Refusal | None, earlier: list[Decision]
) -> list[str]:
    """The data of the events, as pydantic writes it."""
    instruction = Instruction.model_validate(Instruction.of(asked).model_dump())

    def balance(minor_units: int | None, currency: str) -> Amount | None:
        if minor_units is None:
            return None
        # Past Money, whose bound is a leg's; a running sum is longer. Exact, since scaleb on a wide context only moves the point.
        exponent = exponent_of(currency)
        digits = str(abs(minor_units)).rjust(exponent + 1, "0")
        whole, rest = (digits[:-exponent], f".{digits[-exponent:]}") if exponent else (digits, "")
        return Amount(value=f"{'-' if minor_units < 0 else ''}{whole}{rest}", currency=currency)

    data = [
        BalanceUpdatedV1(
            instruction=instruction,
            leg=one.leg,
            account_id=one.account_id,
            amount=Amount.of(one.amount),
            conversion=ConversionDetails.of(one.conversion),
            value_date=one.value_date,
            booked_at=one.decided_at,
            version=one.version,
            ledger_balance_after=balance(one.ledger_after, one.amount.currency),
            available_balance_after=balance(one.available_after, one.amount.currency),
        ).model_dump_json()
        for one in made
        if one.posted
    ]
    if status in FINAL_STATUSES:
        finished = TransactionFinishedV1(
            instruction=instruction,
            status=status,
            reason=Reason(**reason.model_dump(mode="json")) if reason else None,
            legs=tuple(
                LegDetails(
                    leg=one.leg,
                    account_id=one.account_id,
                    outcome=one.outcome,
                    amount=Amount.of(one.amount),
                    conversion=ConversionDetails.of(one.conversion),
                    value_date=one.value_date,
                    decided_at=one.decided_at,
                    version=one.version,
                    ledger_balance_after=balance(one.ledger_after, one.amount.currency),
                    available_balance_after=balance(one.available_after, one.amount.currency),
                    reason=Reason(**one.refusal.model_dump(mode="json")) if one.refusal else None,
                )
                for one in (*earlier, *made)
            ),
            finished_at=made[-1].decided_at,
        )
        data.append(finished.model_dump_json())
    return data


def prepared_for(asked: TransactionRequest, leg: Decision, amount: Money) -> Posting:
    """A posting of the leg, past the checks that a request of several legs would need."""
    return Posting.model_construct(
        request=asked,
        leg=leg.leg,
        account=AccountRef(account_id=leg.account_id, currency=amount.currency),
        amount=amount,
        conversion=leg.conversion,
        value_date=leg.value_date,
        status_if_posted=TransactionStatus.COMPLETED,
        status_if_refused=TransactionStatus.REJECTED,
    )


@given(
    asked=requests(),
    made=st.lists(decisions(), min_size=1, max_size=4, unique_by=lambda leg: (leg.leg, leg.account_id)),
    earlier=st.lists(decisions(), max_size=2),
    status=st.sampled_from(TransactionStatus),
    reason=st.none() | refusals,
    prepare=st.sampled_from(["nothing", "what is booked", "another amount"]),
)
@example(
    asked=request(debtor="A", creditor="B", metadata={"\x00\x1f": "\u2028\ud7ff"}, reference='"\\/'),
    made=[posted(LegName.DEBIT, "A", Money(minor_units=1, currency="BHD"), ledger_after=-1, available_after=-(10**38))],
    earlier=[],
    status=TransactionStatus.COMPLETED,
    reason=None,
    prepare="what is booked",
)
def test_the_texts_of_events_are_what_the_models_write(
    asked: TransactionRequest,
    made: list[Decision],
    earlier: list[Decision],
    status: TransactionStatus,
    reason: Refusal | None,
    prepare: str,
) -> None:
    writer = EventWriter(asked)
    names = [one.leg for one in made]
    if prepare != "nothing":
        for one in made:
            amount = one.amount if prepare == "what is booked" else Money(minor_units=1, currency="XPF")
            writer.prepare(prepared_for(asked, one, amount), several=names.count(one.leg) > 1)
    written = writer.events(made, status=status, reason=reason, earlier=earlier)
    expected = by_the_models(asked, made, status, reason, earlier)
    event(f"{len(expected)} events, prepared: {prepare}")
    assert [one.data for one in written] == expected
    assert len({one.event_id for one in written}) == len(written)
    assert [one.event_id for one in EventWriter(asked).events(made, status=status, reason=reason, earlier=earlier)] == [
        one.event_id for one in written
    ]
    for told in written:
        assert json.loads(told.data)["instruction"]["transaction_id"] == asked.transaction_id == told.subject
    if status in FINAL_STATUSES:
        result = TransactionResult(transaction_id=asked.transaction_id, status=status, reason=reason, legs=(*earlier, *made))
        assert writer.finished(result, made[-1].decided_at) == written[-1]


@given(asked=requests())
def test_a_field_that_is_not_used_is_not_in_an_event(asked: TransactionRequest) -> None:
    leg = posted(LegName.CREDIT, "B", asked.amount)
    (written,) = EventWriter(asked).events([leg], status=TransactionStatus.PROCESSING, reason=None)
    told = json.loads(written.data)["instruction"]
    later = {name for name in ("shares", "fee", "balancing", "hold_id", "reverses", "override") if getattr(asked, name)}
    if asked.settlement == "clearing" and asked.kind is not TransactionKind.TRANSFER:
        later.add("settlement")
    first = {"tenant", "transaction_id", "kind", "debtor", "creditor", "instructed", "reference", "remittance_information", "metadata"}
    assert set(told) == first | {"submitted_by", "submitted_at"} | later
