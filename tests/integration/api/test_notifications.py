"""What customers are told, over HTTP: preferences, messages by pages, and the replay of dead ones."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.kafka.received import ReceivedEvent
from infra.notifications.templates import MessageTemplates
from infra.postgres.database import Database
from infra.postgres.notifications import NotificationEffects
from ledger.decisions import LegName
from ledger.event_writer import transaction_finished
from ledger.notifications import secret_key
from ledger.results import TransactionResult, TransactionStatus
from ledger.scopes import Scope
from tests.integration.api.bank import Bank, assert_problem
from tests.stack_fixtures import RunningStack
from tests.unit.ledger.builders import posted, request

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
URL = "https://example.org/hook"


def _path(customer_id: str) -> str:
    return f"/v1/customers/{customer_id}/notifications"


async def _body(bank: Bank, **fields: Any) -> dict[str, Any]:
    return {"accounts": [await bank.open()], "email": "jana@example.org", **fields}


def _customer() -> str:
    return f"customer-{uuid.uuid4().hex[:8]}"


async def _told(stack: RunningStack, tenant: str, account_id: str, number: int = 1) -> None:
    """Messages of finished transactions, as the consumer stores them."""
    asked = [request(creditor=account_id, tenant=tenant, transaction_id=str(uuid.uuid4())) for _ in range(number)]
    results = [
        TransactionResult(
            transaction_id=one.transaction_id, status=TransactionStatus.COMPLETED, legs=(posted(LegName.CREDIT, account_id, one.amount),)
        )
        for one in asked
    ]
    now = dt.datetime.now(dt.UTC)
    events = [transaction_finished(one, result, finished_at=now) for one, result in zip(asked, results, strict=True)]
    received = [ReceivedEvent(partition=0, offset=offset, **event.model_dump()) for offset, event in enumerate(events)]

    async def work(connection: AsyncConnection) -> None:
        await NotificationEffects(MessageTemplates()).apply(connection, received)

    database = Database.open(stack.postgres_dsn, pool_size=1)
    await database.run(work)
    await database.close()


async def _kill(stack: RunningStack, message_id: str) -> None:
    async with await psycopg.AsyncConnection.connect(stack.postgres_dsn, autocommit=True) as owner:
        await owner.execute(
            "UPDATE notification.message SET status = 'dead', attempts = 10, last_error = 'HTTP 500' WHERE message_id = %s", [message_id]
        )


async def test_preferences_are_set_read_replaced_and_disabled(bank: Bank) -> None:
    customer = _customer()
    assert_problem(await bank.http.get(_path(customer)), 404, "not-found")
    body = await _body(
        bank,
        kinds=["rejected", "debit"],
        minimum_amounts={"EUR": "10", "JPY": "1000"},
        language="cs",
        quiet_hours={"start": "22:00", "end": "06:30", "time_zone": "Europe/Prague"},
        urgent=True,
    )
    answer = await bank.http.put(_path(customer), json=body)
    assert answer.status_code == 200, answer.text
    content = answer.json()
    assert content == {
        **body,
        "customer_id": customer,
        "enabled": True,
        "webhook": None,
        "kinds": ["debit", "rejected"],
        "minimum_amounts": {"EUR": "10.00", "JPY": "1000"},
        "since": content["since"],
    }
    assert (await bank.http.get(_path(customer))).json() == content

    replaced = (await bank.http.put(_path(customer), json={**body, "quiet_hours": None, "urgent": False})).json()
    assert (replaced["quiet_hours"], replaced["since"]) == (None, content["since"])

    disabled = await bank.http.delete(_path(customer))
    assert (disabled.status_code, disabled.json()["enabled"]) == (200, False)
    again = (await bank.http.put(_path(customer), json=body)).json()
    assert again["enabled"]
    assert again["since"] > content["since"], "what happened while he was told nothing stays untold"
    assert_problem(await bank.http.delete(_path(_customer())), 404, "not-found")


async def test_a_secret_is_made_shown_once_and_kept(bank: Bank) -> None:
    customer = _customer()
    body = await _body(bank, email=None, webhook={"url": URL})
    made = (await bank.http.put(_path(customer), json=body)).json()["webhook"]["secret"]
    assert len(secret_key(made)) == 32
    assert (await bank.http.get(_path(customer))).json()["webhook"] == {"url": URL, "gone": False, "secret": None}
    assert (await bank.http.put(_path(customer), json=body)).json()["webhook"]["secret"] is None, "it is the same"
    other = (await bank.http.put(_path(customer), json={**body, "webhook": {"url": URL, "new_secret": True}})).json()["webhook"]["secret"]
    assert other not in {None, made}
    own = await bank.http.put(_path(customer), json={**body, "webhook": {"url": URL, "secret": SECRET}})
    assert own.json()["webhook"]["secret"] is None
    assert SECRET not in own.text


async def test_the_secrets_that_were_replaced_still_sign(bank: Bank, stack: RunningStack) -> None:
    customer = _customer()
    body = await _body(bank, webhook={"url": URL, "secret": SECRET})
    await bank.http.put(_path(customer), json=body)
    await bank.http.put(_path(customer), json={**body, "webhook": {"url": URL, "new_secret": True}})
    async with await psycopg.AsyncConnection.connect(stack.postgres_dsn) as owner:
        found = await owner.execute(
            "SELECT webhook_secrets FROM notification.preference WHERE tenant = %s AND customer_id = %s", [bank.tenant, customer]
        )
        row = await found.fetchone()
    assert row is not None
    first, second = row[0]
    assert (first["until"], second["secret"]) == (None, SECRET)
    assert second["until"] is not None


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"accounts": []}, "accounts"),
        ({"accounts": ["no such account"]}, "accounts"),
        ({"email": None}, "email"),
        ({"email": "jana@example.org\r\nBcc: x@example.org"}, "email"),
        ({"email": "jana"}, "email"),
        ({"webhook": {"url": "ftp://example.org/"}}, "webhook.url"),
        ({"webhook": {"url": "https://a:b@example.org/"}}, "webhook.url"),
        ({"webhook": {"url": URL, "secret": "whsec_c2hvcnQ="}}, "webhook.secret"),
        ({"kinds": ["everything"]}, "kinds.0"),
        ({"minimum_amounts": {"EUR": 12.5}}, "minimum_amounts.EUR"),
        ({"minimum_amounts": {"EUR": "1.001"}}, "minimum_amounts.EUR"),
        ({"minimum_amounts": {"XYZ": "1"}}, "minimum_amounts"),
        ({"language": "tlh"}, "language"),
        ({"quiet_hours": {"start": "22:00", "end": "22:00", "time_zone": "UTC"}}, "quiet_hours"),
        ({"quiet_hours": {"start": "22:00", "end": "06:00", "time_zone": "Mars/Olympus"}}, "quiet_hours.time_zone"),
        ({"quiet_hours": {"start": "25:00", "end": "06:00", "time_zone": "UTC"}}, "quiet_hours.start"),
        ({"unknown": 1}, "unknown"),
    ],
)
async def test_a_field_that_breaks_a_rule_is_named(bank: Bank, fields: dict[str, Any], field: str) -> None:
    customer = _customer()
    problem = (await bank.http.put(_path(customer), json=await _body(bank, **fields))).json()
    assert problem["status"] == 422, problem
    assert problem["errors"][0]["field"] == field, problem
    assert (await bank.http.get(_path(customer))).status_code == 404, "nothing was set"


async def test_another_tenants_account_is_no_account(bank: Bank, other_bank: Bank) -> None:
    body = await _body(other_bank)
    assert_problem(await bank.http.put(_path(_customer()), json=body), 422, "unknown-account")
    assert_problem(await bank.http.put(_path("a b"), json=await _body(bank)), 422, "invalid-input")


async def test_messages_are_listed_by_pages_and_by_status(bank: Bank, other_bank: Bank, stack: RunningStack) -> None:
    customer = _customer()
    body = await _body(bank)
    await bank.http.put(_path(customer), json=body)
    await _told(stack, bank.tenant, body["accounts"][0], number=5)
    query: dict[str, str | int] = {"customer_id": customer, "limit": 2}
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    for size in (2, 2, 1):
        page = (await bank.http.get("/v1/notifications", params=query | ({"cursor": cursor} if cursor else {}))).json()
        assert len(page["notifications"]) == size
        found += page["notifications"]
        cursor = page["next_cursor"]
    assert cursor is None
    assert len({message["message_id"] for message in found}) == 5
    assert {message["status"] for message in found} == {"waiting"}
    assert "body" not in found[0]
    await _kill(stack, found[0]["message_id"])
    dead = (await bank.http.get("/v1/notifications", params={"customer_id": customer, "status": "dead"})).json()["notifications"]
    assert [(message["message_id"], message["last_error"]) for message in dead] == [(found[0]["message_id"], "HTTP 500")]
    assert (await other_bank.http.get("/v1/notifications", params={"customer_id": customer})).json()["notifications"] == []
    wrong: tuple[dict[str, str | int], ...] = ({"cursor": "x"}, {"status": "lost"}, {"limit": 0}, {"other": 1})
    for bad in wrong:
        assert_problem(await bank.http.get("/v1/notifications", params=bad), 422, "invalid-input")


async def test_a_dead_message_is_replayed_by_whoever_says_why(bank: Bank, other_bank: Bank, stack: RunningStack) -> None:
    customer = _customer()
    body = await _body(bank)
    await bank.http.put(_path(customer), json=body)
    await _told(stack, bank.tenant, body["accounts"][0])
    (message,) = (await bank.http.get("/v1/notifications", params={"customer_id": customer})).json()["notifications"]
    path = f"/v1/notifications/{message['message_id']}/replay"
    assert_problem(await bank.http.post(path, json={"reason": "again"}), 409, "message-not-dead")
    await _kill(stack, message["message_id"])
    assert_problem(await bank.http.post(path, json={}), 422, "invalid-input")
    assert_problem(await other_bank.http.post(path, json={"reason": "again"}), 404, "not-found")

    replayed = await bank.http.post(path, json={"reason": "his server is mended"})

    assert replayed.status_code == 200
    assert (replayed.json()["status"], replayed.json()["attempts"]) == ("waiting", 0)
    assert_problem(await bank.http.post(path, json={"reason": "again"}), 409, "message-not-dead")
    await _kill(stack, message["message_id"])
    assert (await bank.http.post(path, json={"reason": "once more"})).status_code == 200
    async with await psycopg.AsyncConnection.connect(stack.postgres_dsn) as owner:
        found = await owner.execute(
            "SELECT number, by, reason, attempts, last_error FROM notification.replay WHERE message_id = %s ORDER BY number",
            [message["message_id"]],
        )
        rows = await found.fetchall()
    assert [(row[0], row[2:]) for row in rows] == [
        (1, ("his server is mended", 10, "HTTP 500")),
        (2, ("once more", 10, "HTTP 500")),
    ]
    assert len({row[1] for row in rows}) == 1


async def test_a_key_that_may_only_look_changes_nothing(bank: Bank, stack: RunningStack) -> None:
    from infra.postgres.api_keys import PostgresApiKeys  # noqa: PLC0415

    database = Database.open(stack.postgres_dsn, pool_size=1)
    _, key = await PostgresApiKeys(database).create(bank.tenant, "looker", (Scope.TRANSACTIONS_APPROVE,))
    await database.close()
    headers = {"Authorization": f"Bearer {key}"}
    assert_problem(await bank.http.put(_path("jana"), json=await _body(bank), headers=headers), 403, "missing-scope")
    assert_problem(await bank.http.delete(_path("jana"), headers=headers), 403, "missing-scope")
    replay = f"/v1/notifications/{uuid.uuid4()}/replay"
    assert_problem(await bank.http.post(replay, json={"reason": "x"}, headers=headers), 403, "missing-scope")
    assert (await bank.http.get("/v1/notifications", headers=headers)).status_code == 200
