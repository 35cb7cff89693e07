from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from ledger.errors import InvalidInputError
from starter.client import ApiClient, ApiError, ApiUnavailableError


def _client(handler: httpx.MockTransport, said: list[str] | None = None) -> ApiClient:
    client = ApiClient("http://api.test", "casaflow_key", on_wait=said.append if said is not None else None)
    client._http = httpx.AsyncClient(base_url="http://api.test", transport=handler)
    return client


@pytest.mark.parametrize("url", ["localhost:8080", "127.0.0.1", "", "ftp://x", "http://", "http:// x", "http://x?y", "http:/x"])
def test_url_that_can_never_answer_is_bad_input_instead_of_an_outage(url: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        ApiClient(url, "key")
    assert (refused.value.field, refused.value.value) == ("api_url", url)


@pytest.mark.parametrize("key", ["", "a b", "a\n", "\u00e4"])
def test_key_that_no_header_can_carry_is_bad_input_and_not_shown(key: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        ApiClient("https://bank.example/casaflow", key)
    assert refused.value.field == "api_key"
    assert not key or key not in str(refused.value)


@pytest.mark.parametrize("account_id", ["", "..", "a/b", "a?b"])
async def test_account_id_cannot_become_another_path(account_id: str) -> None:
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(200, json={})

    async with _client(httpx.MockTransport(handler)) as client:
        for call in (client.account, client.balance):
            with pytest.raises(InvalidInputError):
                await call(account_id)
        with pytest.raises(InvalidInputError):
            await client.change_account(account_id, "close")
        with pytest.raises(InvalidInputError):
            await client.transaction(account_id)
    assert asked == []


async def test_unavailable_is_repeated_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: Iterator[httpx.Response | httpx.TransportError] = iter(
        [
            httpx.Response(503, json={"detail": "postgres is not available"}, headers={"Retry-After": "0"}),
            httpx.ConnectError("refused"),
            httpx.Response(200, json={"status": "completed"}),
        ]
    )
    monkeypatch.setattr("starter.client._RETRY_SECONDS", 0.0)

    def handler(_request: httpx.Request) -> httpx.Response:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    said: list[str] = []
    async with _client(httpx.MockTransport(handler), said) as client:
        assert await client.submit({}, wait_seconds=1) == ({"status": "completed"}, True)
    assert said == ["postgres is not available", "the API does not answer (ConnectError)"]


async def test_nobody_who_wants_to_wait_gets_the_reason_at_once() -> None:
    async with _client(httpx.MockTransport(lambda _: httpx.Response(503, json={"detail": "temporal is not available"}))) as client:
        with pytest.raises(ApiUnavailableError, match="temporal is not available"):
            await client.balance("A1")


@pytest.mark.parametrize(
    ("status", "bad_input"), [(401, True), (404, True), (409, True), (422, True), (500, False), (502, False), (307, False)]
)
async def test_refusal_is_an_error_with_the_problems_fields(status: int, bad_input: bool) -> None:
    problem = {"code": "some-code", "detail": "some detail", "errors": [{"field": "f", "value": "v", "rule": "r"}]}
    async with _client(httpx.MockTransport(lambda _: httpx.Response(status, json=problem))) as client:
        with pytest.raises(ApiError, match="some detail") as refused:
            await client.balance("A1")
    error = refused.value
    assert (error.status, error.problem_code, error.is_bad_input, error.errors) == (status, "some-code", bad_input, problem["errors"])


@pytest.mark.parametrize("content", [b"<html>", b"", b"[]", b"\xff"])
async def test_error_that_is_no_problem_is_an_error_all_the_same(content: bytes) -> None:
    async with _client(httpx.MockTransport(lambda _: httpx.Response(502, content=content))) as client:
        with pytest.raises(ApiError) as refused:
            await client.balance("A1")
    assert (refused.value.status, refused.value.problem_code) == (502, "error")
