"""What the Python client makes of arguments and answers, with a transport that stands for the network."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import casaflow_client
import httpx
import pytest
from casaflow_client import AsyncClient, Client, InvalidArgumentError, Patience, models
from casaflow_client.requests import body_of, query

_ACCOUNT: dict[str, Any] = {
    "account_id": "A1", "currency": "EUR", "kind": "current", "status": "active", "overdraft_limit": "0.00", "minimum_balance": "0.00",
    "maximum_balance": None, "transaction_limit": None, "daily_limit": None, "monthly_limit": None, "time_zone": "UTC",
    "opened_at": "2026-11-28T12:00:00Z",
}  # fmt: skip
_NOW = Patience(seconds=0)


def _client(handler: Any, patience: Patience = _NOW) -> Client:
    return Client("http://api.test/casaflow/", "casaflow_key", patience=patience, http=httpx.Client(transport=httpx.MockTransport(handler)))


@pytest.mark.parametrize("url", ["localhost:8080", "127.0.0.1", "", "ftp://x", "http://", "http:// x", "http://x?y", "http:/x"])
def test_a_url_that_can_never_answer_is_no_argument_instead_of_an_outage(url: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        AsyncClient(url, "key")
    assert (refused.value.field, refused.value.value) == ("api_url", url)


@pytest.mark.parametrize("key", ["", "a b", "a\n", "\u00e4"])
def test_a_key_that_no_header_can_carry_is_not_shown(key: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        Client("https://bank.example/casaflow", key)
    assert refused.value.field == "api_key"
    assert not key or key not in str(refused.value)


@pytest.mark.parametrize("account_id", ["", "..", "a/b", "a?b"])
def test_an_id_cannot_become_another_path(account_id: str) -> None:
    def never(_request: httpx.Request) -> httpx.Response:
        pytest.fail("nothing may be sent")

    with _client(never) as client:
        for call in (client.account, client.balance, client.close_account, client.transaction, client.hold, client.standing_order):
            with pytest.raises(InvalidArgumentError):
                call(account_id)


def test_a_request_goes_under_the_url_with_the_key() -> None:
    asked: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={**_ACCOUNT, "of_a_later_version": 1})

    with _client(handler) as client:
        account = client.account("A1")
    assert str(asked[0].url) == "http://api.test/casaflow/v1/accounts/A1"
    assert asked[0].headers["Authorization"] == "Bearer casaflow_key"
    assert (account.account_id, account.opened_at) == ("A1", dt.datetime(2026, 11, 28, 12, tzinfo=dt.UTC))
    assert (account.content["of_a_later_version"], account.http_status) == (1, 200)


def test_money_never_passes_through_a_float() -> None:
    assert body_of({"amount": Decimal("12.50"), "metadata": {"a": "b"}, "shares": [{"amount": Decimal("1E+2")}]}) == {
        "amount": "12.50", "metadata": {"a": "b"}, "shares": [{"amount": "100"}],
    }  # fmt: skip
    with pytest.raises(InvalidArgumentError, match="float"):
        body_of({"amount": 12.5})


def test_parameters_are_text_and_what_was_not_given_is_left_out() -> None:
    instant = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)
    assert query(from_=instant, at=dt.date(2026, 1, 31), limit=5, cursor=None, all_=True, by=["kind", "reason"]) == {
        "from": "2026-01-31T12:00:00+00:00", "at": "2026-01-31", "limit": "5", "all": "true", "by": ["kind", "reason"],
    }  # fmt: skip
    with pytest.raises(InvalidArgumentError, match="time zone"):
        query(at=dt.datetime(2026, 1, 31))  # noqa: DTZ001  what is refused


def test_a_model_sends_only_what_was_given() -> None:
    request = models.TransactionRequest(creditor="A1", amount="12.50", currency="EUR")
    assert body_of(request) == {"creditor": "A1", "amount": "12.50", "currency": "EUR"}


def test_what_has_no_id_gets_one_before_it_is_first_sent() -> None:
    sent: list[dict[str, Any]] = []
    answers: Iterator[httpx.Response | httpx.TransportError] = iter(
        [
            httpx.Response(503, json={"detail": "postgres is not available"}, headers={"Retry-After": "0"}),
            httpx.ConnectError("refused"),
            httpx.Response(429, json={"detail": "too many requests"}, headers={"Retry-After": "0"}),
            httpx.Response(404, json={"code": "unknown-account", "detail": "no such account"}),
        ]
    )

    def handler(request: httpx.Request) -> httpx.Response:
        sent.append(json.loads(request.content))
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    said: list[str] = []
    with _client(handler, Patience(seconds=30, on_wait=said.append)) as client, pytest.raises(casaflow_client.NotFoundError):
        client.submit({"creditor": "A1", "amount": "1", "currency": "EUR"})
    assert said == ["postgres is not available", "the API does not answer (ConnectError)", "too many requests"]
    assert len({body["transaction_id"] for body in sent}) == 1
    assert len(sent) == 4


def test_who_is_not_patient_gets_the_reason_at_once() -> None:
    away = _client(lambda _: httpx.Response(503, json={"detail": "temporal is not available"}))
    with away as client, pytest.raises(casaflow_client.UnavailableError, match="temporal is not available"):
        client.balance("A1")
    busy = _client(lambda _: httpx.Response(429, json={"detail": "slow down"}))
    with busy as client, pytest.raises(casaflow_client.RateLimitedError):
        client.balance("A1")


def test_patience_ends() -> None:
    patience = Patience(seconds=10)
    assert patience.pause_seconds(0, 11, 0) is None
    assert patience.pause_seconds(0, 4, 5) == 4
    assert patience.pause_seconds(9, None, 9.9) is None
    assert Patience(seconds=None).pause_seconds(9, 60, 10_000) == 60
    assert all(0.2 <= (patience.pause_seconds(attempt, None, 0) or 0) <= 6 for attempt in range(20))


@pytest.mark.parametrize(
    ("status", "kind", "bad_input"),
    [
        (401, casaflow_client.UnauthenticatedError, True), (403, casaflow_client.ForbiddenError, True),
        (404, casaflow_client.NotFoundError, True), (409, casaflow_client.ConflictError, True),
        (413, casaflow_client.InvalidRequestError, True), (422, casaflow_client.InvalidRequestError, True),
        (418, casaflow_client.ApiError, True), (500, casaflow_client.ApiError, False), (307, casaflow_client.ApiError, False),
    ],
)  # fmt: skip
def test_a_refusal_is_an_error_with_the_problems_fields(status: int, kind: type[casaflow_client.ApiError], bad_input: bool) -> None:
    problem = {"code": "some-code", "detail": "some detail", "errors": [{"field": "f", "value": "v", "rule": "r"}]}
    with _client(lambda _: httpx.Response(status, json=problem)) as client, pytest.raises(kind, match="some detail") as refused:
        client.balance("A1")
    error = refused.value
    assert type(error) is kind
    assert (error.status, error.code, error.is_bad_input, error.errors) == (status, "some-code", bad_input, problem["errors"])


@pytest.mark.parametrize("content", [b"<html>", b"", b"[]", b"\xff"])
@pytest.mark.parametrize("status", [200, 502])
def test_what_is_no_answer_of_the_api_is_an_error_all_the_same(content: bytes, status: int) -> None:
    with _client(lambda _: httpx.Response(status, content=content)) as client, pytest.raises(casaflow_client.ApiError) as refused:
        client.balance("A1")
    assert (refused.value.status, refused.value.code) == (status, "error")
