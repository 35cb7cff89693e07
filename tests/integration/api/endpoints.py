"""Every endpoint of the API, with a request that names something of somebody's: what tests of who may walk over.

A new endpoint goes into :data:`ENDPOINTS`; until then :mod:`tests.integration.api.test_crossing` fails.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from typing import Any

import httpx

from infra.settings import Settings
from starter.api.application import create_app
from starter.api.authentication import is_public
from starter.api.services import Declared, declarations


@dataclass(frozen=True)
class Things:
    """Ids: of what a tenant has, or of nothing at all."""

    account: str
    other_account: str
    spare_account: str
    """That nothing else is asked about, since whoever walks may open one of the same id."""
    transaction: str
    waiting: str
    hold: str
    order: str
    customer: str
    message: str
    key: str
    file: str

    def hidden(self, text: str) -> str:
        """The text with these ids replaced by their names, and instants by a word, so that answers about different things compare."""
        for field in fields(self):
            text = text.replace(getattr(self, field.name), f"<{field.name}>")
        return _INSTANT.sub("<instant>", text)


_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)")
_WHY = {"reason": "a test"}
_TRANSFER = {"debtor": "{account}", "creditor": "{other_account}", "amount": "1.00", "currency": "EUR"}
_ACCOUNT, _TRANSACTION, _WAITING, _HOLD, _ORDER = (
    f"/v1/{kind}/{{{thing}}}"
    for kind, thing in (
        ("accounts", "account"),
        ("transactions", "transaction"),
        ("transactions", "waiting"),
        ("holds", "hold"),
        ("standing-orders", "order"),
    )
)
_CUSTOMER = "/v1/customers/{customer}/notifications"
_MONTHLY = {"frequency": "monthly", "start_date": "2099-01-01", "time_zone": "Europe/Prague"}

ENDPOINTS: dict[tuple[str, str], tuple[str, Any]] = {
    ("POST", "/v1/accounts"): ("/v1/accounts", {"account_id": "{spare_account}", "currency": "EUR"}),
    ("GET", "/v1/accounts"): ("/v1/accounts?prefix={account}", None),
    ("GET", "/v1/accounts/{account_id}"): (_ACCOUNT, None),
    ("GET", "/v1/accounts/{account_id}/balance"): (f"{_ACCOUNT}/balance", None),
    ("PATCH", "/v1/accounts/{account_id}"): (_ACCOUNT, {"overdraft_limit": "5.00"}),
    ("POST", "/v1/accounts/{account_id}/freeze"): (f"{_ACCOUNT}/freeze", {"side": "both"}),
    ("POST", "/v1/accounts/{account_id}/unfreeze"): (f"{_ACCOUNT}/unfreeze", None),
    ("POST", "/v1/accounts/{account_id}/dormant"): (f"{_ACCOUNT}/dormant", None),
    ("POST", "/v1/accounts/{account_id}/reactivate"): (f"{_ACCOUNT}/reactivate", None),
    ("POST", "/v1/accounts/{account_id}/close"): (f"{_ACCOUNT}/close", None),
    ("GET", "/v1/accounts/{account_id}/statement"): (f"{_ACCOUNT}/statement", None),
    ("GET", "/v1/accounts/{account_id}/statements"): (f"{_ACCOUNT}/statements", None),
    ("GET", "/v1/accounts/{account_id}/statements/{number}"): (f"{_ACCOUNT}/statements/1", None),
    ("GET", "/v1/accounts/{account_id}/transactions/{transaction_id}/notification"): (
        f"{_ACCOUNT}/transactions/{{transaction}}/notification",
        None,
    ),
    ("POST", "/v1/transactions"): ("/v1/transactions", {**_TRANSFER, "transaction_id": "{transaction}"}),
    ("GET", "/v1/transactions/batch"): ("/v1/transactions/batch", None),
    ("POST", "/v1/transactions/batch"): ("/v1/transactions/batch", {"transactions": [{**_TRANSFER, "transaction_id": "{transaction}"}]}),
    ("GET", "/v1/transactions"): ("/v1/transactions?account_id={account}", None),
    ("GET", "/v1/transactions/{transaction_id}"): (_TRANSACTION, None),
    ("GET", "/v1/transactions/{transaction_id}/explanation"): (f"{_TRANSACTION}/explanation", None),
    ("POST", "/v1/transactions/{transaction_id}/reverse"): (f"{_TRANSACTION}/reverse", None),
    ("POST", "/v1/transactions/{transaction_id}/retry"): (f"{_TRANSACTION}/retry", _WHY),
    ("POST", "/v1/transactions/{transaction_id}/settle"): (f"{_TRANSACTION}/settle", {**_WHY, "creditor": "{account}"}),
    ("POST", "/v1/transactions/{transaction_id}/approve"): (f"{_WAITING}/approve", None),
    ("POST", "/v1/transactions/{transaction_id}/decline"): (f"{_WAITING}/decline", _WHY),
    ("POST", "/v1/transactions/{transaction_id}/cancel"): (f"{_WAITING}/cancel", _WHY),
    ("POST", "/v1/holds"): (
        "/v1/holds",
        {"hold_id": "{hold}", "account_id": "{account}", "amount": "1.00", "currency": "EUR", "expires_at": "2099-01-01T00:00:00Z"},
    ),
    ("GET", "/v1/holds"): ("/v1/holds?account_id={account}", None),
    ("GET", "/v1/holds/{hold_id}"): (_HOLD, None),
    ("POST", "/v1/holds/{hold_id}/void"): (f"{_HOLD}/void", None),
    ("POST", "/v1/holds/{hold_id}/capture"): (f"{_HOLD}/capture", None),
    ("POST", "/v1/standing-orders"): ("/v1/standing-orders", {**_TRANSFER, "order_id": "{order}", "schedule": _MONTHLY}),
    ("GET", "/v1/standing-orders"): ("/v1/standing-orders", None),
    ("GET", "/v1/standing-orders/{order_id}"): (_ORDER, None),
    ("POST", "/v1/standing-orders/{order_id}/pause"): (f"{_ORDER}/pause", None),
    ("POST", "/v1/standing-orders/{order_id}/resume"): (f"{_ORDER}/resume", None),
    ("POST", "/v1/standing-orders/{order_id}/cancel"): (f"{_ORDER}/cancel", None),
    ("PUT", "/v1/customers/{customer_id}/notifications"): (
        _CUSTOMER,
        {"accounts": ["{account}"], "email": "jana@bank.example", "kinds": ["credit"]},
    ),
    ("GET", "/v1/customers/{customer_id}/notifications"): (_CUSTOMER, None),
    ("DELETE", "/v1/customers/{customer_id}/notifications"): (_CUSTOMER, None),
    ("GET", "/v1/notifications"): ("/v1/notifications?customer_id={customer}", None),
    ("POST", "/v1/notifications/{message_id}/replay"): ("/v1/notifications/{message}/replay", _WHY),
    ("GET", "/v1/mis/transactions"): ("/v1/mis/transactions", None),
    ("GET", "/v1/mis/entries"): ("/v1/mis/entries", None),
    ("GET", "/v1/keys"): ("/v1/keys", None),
    ("POST", "/v1/keys"): ("/v1/keys", {"principal": " ", "scopes": ["admin"]}),
    ("GET", "/v1/keys/{key_id}"): ("/v1/keys/{key}", None),
    ("POST", "/v1/keys/{key_id}/rotate"): ("/v1/keys/{key}/rotate", {"overlap_seconds": 0}),
    ("POST", "/v1/keys/{key_id}/revoke"): ("/v1/keys/{key}/revoke", None),
    ("GET", "/v1/administrative-acts"): ("/v1/administrative-acts", None),
    ("POST", "/v1/files"): ("/v1/files?mode=best-effort", "no file"),
    ("GET", "/v1/files"): ("/v1/files", None),
    ("GET", "/v1/files/{file_id}"): ("/v1/files/{file}", None),
    ("GET", "/v1/files/{file_id}/lines"): ("/v1/files/{file}/lines", None),
    ("GET", "/v1/files/{file_id}/outcome"): ("/v1/files/{file}/outcome", None),
    ("POST", "/v1/files/{file_id}/pause"): ("/v1/files/{file}/pause", _WHY),
    ("POST", "/v1/files/{file_id}/resume"): ("/v1/files/{file}/resume", _WHY),
    ("POST", "/v1/files/{file_id}/cancel"): ("/v1/files/{file}/cancel", _WHY),
    ("GET", "/v1/system"): ("/v1/system", None),
    ("GET", "/v1/system/attention"): ("/v1/system/attention", None),
    ("POST", "/v1/system/workers/kill"): ("/v1/system/workers/kill", None),
    ("GET", "/v1/rates"): ("/v1/rates?base=USD&quote=EUR&date=2020-01-02", None),
    ("GET", "/v1/events"): ("/v1/events?account_id={account}", None),
    ("GET", "/v1/event-types"): ("/v1/event-types", None),
    ("GET", "/v1/event-types/{name}"): ("/v1/event-types/no-such-type", None),
    ("GET", "/openapi.json"): ("/openapi.json", None),
    ("GET", "/asyncapi.json"): ("/asyncapi.json", None),
}
"""By method and path, as the application has them: the request's path and body, with names of :class:`Things` in braces."""

LISTS = frozenset(
    {
        ("GET", "/v1/accounts"),
        ("GET", "/v1/transactions"),
        ("GET", "/v1/holds"),
        ("GET", "/v1/events"),
        ("GET", "/v1/files"),
        ("GET", "/v1/system/attention"),
        ("GET", "/v1/standing-orders"),
        ("GET", "/v1/notifications"),
        ("GET", "/v1/keys"),
        ("GET", "/v1/administrative-acts"),
        ("GET", "/v1/mis/transactions"),
        ("GET", "/v1/mis/entries"),
    }
)
"""Those that show a tenant's own without being told which."""


def declared() -> dict[tuple[str, str], Declared]:
    """What the application's endpoints declare, those left out that need no key."""
    app = create_app(Settings(postgres_url="postgresql://x@127.0.0.1:1/x", temporal_address="127.0.0.1:1"))
    return {(one.method, one.path): one for one in declarations(app) if not is_public(one.path)}


async def request(http: httpx.AsyncClient, endpoint: tuple[str, str], things: Things, key: str | None) -> httpx.Response:
    """Ask an endpoint about these things."""
    path, body = ENDPOINTS[endpoint]
    names = {field.name: getattr(things, field.name) for field in fields(things)}
    content = None
    if body is not None:
        text = json.dumps(body)
        for name, value in names.items():
            text = text.replace(f"{{{name}}}", value)
        content = text.encode()
    headers = {"Prefer": "wait=10", **({"Content-Type": "application/json"} if content else {})}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    async with http.stream(endpoint[0], path.format(**names), content=content, headers=headers) as answer:
        # A stream of events has no end; that it has begun is its answer.
        read = b"" if answer.headers.get("Content-Type", "").startswith("text/event-stream") else await answer.aread()
    kept = {name: value for name, value in answer.headers.items() if name.lower() not in {"content-encoding", "content-length"}}
    return httpx.Response(answer.status_code, headers=kept, content=read, request=answer.request)
