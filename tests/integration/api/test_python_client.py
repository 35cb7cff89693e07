"""The Python client, both halves of it, against the real API."""

from __future__ import annotations

import datetime as dt
import io
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal

import casaflow_client
import pytest
from casaflow_client import AsyncClient, Client, models

from tests.stack_fixtures import RunningStack


@pytest.fixture
def client(stack: RunningStack) -> Iterator[Client]:
    with Client(stack.api, stack.api_key) as opened:
        yield opened


def _all_orders(client: Client) -> list[models.StandingOrder]:
    page = client.standing_orders(limit=100)
    found = list(page.orders)
    while page.next_cursor is not None:
        page = client.standing_orders(limit=100, cursor=page.next_cursor)
        found.extend(page.orders)
    return found


@pytest.fixture
async def asynchronous(stack: RunningStack) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(stack.api, stack.api_key) as opened:
        yield opened


def _account_id() -> str:
    return f"py-{uuid.uuid4().hex[:12]}"


def _opened(client: Client, *, funds: str | None = None, currency: str = "EUR") -> str:
    account_id = _account_id()
    client.open_account(models.AccountRequest(account_id=account_id, currency=currency))
    if funds is not None:
        paid = client.submit({"creditor": account_id, "amount": funds, "currency": currency}, wait_seconds=30)
        assert paid.status == "completed"
    return account_id


def test_from_the_account_to_its_statement(client: Client) -> None:
    account_id = _opened(client, funds="100.00")
    identifier = str(uuid.uuid4())
    request = models.TransactionRequest(
        transaction_id=identifier, debtor=account_id, amount="12.50", currency="EUR", reference="INV-1", metadata={"channel": "test"}
    )
    first = client.submit(request, wait_seconds=30)
    assert (first.status, first.http_status, str(first.transaction_id)) == ("completed", 201, identifier)
    again = client.submit(request, wait_seconds=30)
    assert (again.http_status, again.legs) == (200, first.legs)
    found = client.transaction(identifier)
    assert (found.reference, found.metadata) == ("INV-1", {"channel": "test"})
    assert client.outcome(identifier).status == "completed"
    balance = client.balance(account_id)
    assert (balance.ledger, balance.available, balance.content["ledger"]) == (Decimal("87.50"), Decimal("87.50"), "87.50")
    lines = list(client.statement_lines(account_id))
    assert [(line.direction, line.amount) for line in lines] == [("credit", Decimal("100.00")), ("debit", Decimal("12.50"))]
    assert client.explanation(identifier).timeline
    back = client.reverse(identifier, {"amount": "2.50"}, wait_seconds=30)
    assert (back.status, str(back.reverses)) == ("completed", identifier)
    assert client.transaction(identifier).reversed_amount == Decimal("2.50")


def test_pages_follow_each_other_without_a_gap(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    account_id = _opened(client)
    for cents in range(1, 8):
        client.submit({"creditor": account_id, "amount": f"0.0{cents}", "currency": "EUR"}, wait_seconds=30)
    monkeypatch.setattr("casaflow_client._sync.accounts._PAGE_LINES", 3)
    assert [line.amount for line in client.statement_lines(account_id, order="newest-first")] == [
        Decimal(cents) / 100 for cents in range(7, 0, -1)
    ]


def test_a_rejection_is_an_outcome_and_a_refusal_an_error(client: Client) -> None:
    account_id = _opened(client, funds="1.00")
    rejected = client.submit({"debtor": account_id, "amount": "1.01", "currency": "EUR"}, wait_seconds=30)
    assert rejected.status == "rejected"
    assert rejected.reason is not None
    assert rejected.reason.code == "insufficient-funds"
    with pytest.raises(casaflow_client.NotFoundError):
        client.account("nobody-has-this-id")
    with pytest.raises(casaflow_client.ConflictError):
        client.open_account({"account_id": account_id, "currency": "USD"})
    with pytest.raises(casaflow_client.InvalidRequestError) as refused:
        client.submit({"creditor": account_id, "amount": "0.001", "currency": "EUR"})
    assert [error["field"] for error in refused.value.errors] == ["amount"]


def test_a_key_that_nobody_made_is_told_so(stack: RunningStack) -> None:
    with Client(stack.api, "casaflow_0000000000000000_" + "x" * 43) as stranger, pytest.raises(casaflow_client.UnauthenticatedError):
        stranger.balance("704")


def test_holds_status_and_rules_of_an_account(client: Client) -> None:
    account_id = _opened(client, funds="50.00")
    until = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    hold = client.authorise_hold({"account_id": account_id, "amount": "30.00", "currency": "EUR", "expires_at": until})
    assert client.balance(account_id).available == Decimal("20.00")
    captured = client.capture_hold(hold.hold_id, {"amount": "10.00", "releases_hold": False}, wait_seconds=30)
    assert captured.status == "completed"
    assert client.void_hold(hold.hold_id).status != hold.status
    assert client.balance(account_id).available == Decimal("40.00")
    assert client.hold(hold.hold_id).captured == Decimal("10.00")
    assert client.change_rules(account_id, models.RulesRequest(daily_limit="5.00")).daily_limit == Decimal("5.00")
    assert client.freeze(account_id, "debits").status == "debit-frozen"
    assert client.unfreeze(account_id).status == "active"
    assert client.make_dormant(account_id).status == "dormant"
    assert client.reactivate(account_id).status == "active"
    empty = _opened(client)
    assert client.close_account(empty).status == "closed"


def test_what_waits_can_be_declined_or_cancelled(client: Client) -> None:
    account_id = _opened(client, funds="10.00")
    asked = models.TransactionRequest(debtor=account_id, amount="1.00", currency="EUR", approval=models.ApprovalRequest())
    waiting = client.submit(asked, wait_seconds=1)
    assert waiting.status == "processing"
    assert waiting.waiting_for is not None
    assert client.cancel(waiting.transaction_id, "no longer wanted", wait_seconds=30).status == "rejected"
    with pytest.raises(casaflow_client.ConflictError):
        client.cancel(client.submit({"creditor": account_id, "amount": "1", "currency": "EUR"}, wait_seconds=30).transaction_id)


def test_orders_customers_and_reports(client: Client) -> None:
    account_id = _opened(client, funds="10.00")
    customer = f"customer-{uuid.uuid4().hex[:8]}"
    with pytest.raises(casaflow_client.NotFoundError):
        client.notification_preferences(customer)
    wanted = models.PreferencesRequest(accounts=[account_id], email="somebody@example.org", kinds=["rejected"])
    assert client.set_notification_preferences(customer, wanted).email == "somebody@example.org"
    assert client.notification_preferences(customer).accounts == [account_id]
    client.disable_notification_preferences(customer)
    assert client.notifications(customer_id=customer).notifications == []
    day = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=40)
    schedule = models.ScheduleRequest(frequency="monthly", day=1, time_zone="Europe/Prague", start_date=day)
    order = client.create_standing_order(
        {"debtor": account_id, "creditor": _opened(client), "amount": Decimal("1.50"), "currency": "EUR", "schedule": schedule}
    )
    assert order.order_id in {found.order_id for found in _all_orders(client)}
    assert client.pause_standing_order(order.order_id, "holidays").status == "paused"
    assert client.resume_standing_order(order.order_id).status == "active"
    assert client.cancel_standing_order(order.order_id).status == "cancelled"
    assert client.standing_order(order.order_id).status == "cancelled"
    assert Decimal(client.rate("USD", "EUR").rate) > 0
    assert "casaflow.casa.credited.v1" in {event_type.type for event_type in client.event_types().event_types}
    assert client.readiness().http_status == 200
    assert client.transaction_chart(per="hour").per == "hour"
    assert client.entry_chart(per="day", by=["kind"]).per == "day"
    assert client.statements(account_id).closed == []


def test_what_is_found_by_conditions_and_sent_together(client: Client) -> None:
    account_id = _opened(client, funds="10.00")
    sent = client.submit_batch(
        [
            {"debtor": account_id, "amount": "1.00", "currency": "EUR", "reference": "B-1"},
            {"debtor": account_id, "amount": "-1", "currency": "EUR"},
        ],
        wait_seconds=30,
    )
    assert [result.status for result in sent] == [201, 422]
    found = client.transactions(account_id=account_id, reference="B-1")
    assert [transaction.transaction_id for transaction in found.transactions] == [
        sent[0].transaction.transaction_id if sent[0].transaction else ""
    ]
    assert [account.account_id for account in client.accounts(prefix=account_id).accounts] == [account_id]
    assert client.holds(account_id=account_id).holds == []


def test_a_statement_as_a_document(client: Client) -> None:
    account_id = _opened(client, funds="10.00")
    (line,) = client.statement_lines(account_id)
    for form, begins in (("csv", b"\xef\xbb\xbf"), ("pdf", b"%PDF"), ("camt.053", b"<?xml")):
        out = io.BytesIO()
        client.statement_document(account_id, form, out)
        assert out.getvalue().lstrip(b"\xef\xbb\xbf").startswith(begins.lstrip(b"\xef\xbb\xbf"))
    out = io.BytesIO()
    client.notification_document(account_id, line.transaction_id, out)
    assert b"camt.054" in out.getvalue()
    with pytest.raises(casaflow_client.NotFoundError):
        client.closed_statement_document(account_id, 1, "pdf", io.BytesIO())


def test_events_as_they_are_published(client: Client) -> None:
    account_id = _opened(client)
    events = client.events(account_id=account_id)
    before = client.submit({"creditor": account_id, "amount": "1.00", "currency": "EUR"}, wait_seconds=30)
    # A stream begins when its first event is asked for: what was published before is not in it.
    later = threading.Timer(2.0, lambda: client.submit({"creditor": account_id, "amount": "2.00", "currency": "EUR"}, wait_seconds=30))
    later.start()
    first = next(events)
    events.close()
    later.join()
    assert first.type.startswith("casaflow.")
    assert first.content["subject"] != before.transaction_id


def test_keys_are_made_rotated_and_revoked(stack: RunningStack, client: Client) -> None:
    made = client.create_key(models.KeyRequest(principal="a clerk", scopes=["accounts:read"]))
    with Client(stack.api, made.key) as clerk:
        assert clerk.accounts(limit=1).accounts is not None
        with pytest.raises(casaflow_client.ForbiddenError):
            clerk.keys()
    rotated = client.rotate_key(made.key_id)
    assert client.key(rotated.key_id).rotated_from == made.key_id
    assert client.revoke_key(rotated.key_id).state == "revoked"
    assert rotated.key_id in {key.key_id for key in client.keys(limit=50).keys}
    assert client.administrative_acts(limit=5).acts


async def test_the_asynchronous_half(asynchronous: AsyncClient) -> None:
    account_id = _account_id()
    await asynchronous.open_account({"account_id": account_id, "currency": "JPY"})
    submitted = await asynchronous.submit({"creditor": account_id, "amount": Decimal(125), "currency": "JPY"})
    assert (await asynchronous.outcome(submitted.transaction_id)).status == "completed"
    assert [line.amount async for line in asynchronous.statement_lines(account_id)] == [Decimal(125)]
    assert (await asynchronous.balance(account_id)).offline == Decimal(125)
