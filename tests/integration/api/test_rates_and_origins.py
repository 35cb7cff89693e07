"""An API with a rate limit, and with an origin whose pages may ask it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.integration.api.bank import Bank, assert_problem, bank_at
from tests.integration.api.saga import api_process
from tests.stack_fixtures import RunningStack

ORIGIN = "https://desk.bank.example"


@pytest.fixture(scope="module")
async def limited(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    log = tmp_path_factory.mktemp("limited") / "api.log"
    settings = {"RATE_LIMIT_PER_SECOND": "0.1", "RATE_LIMIT_BURST": "5", "CORS_ORIGINS": f"{ORIGIN}, http://localhost:3000"}
    async with api_process(stack, log, **settings) as api:
        yield api


async def test_key_that_asks_too_often_is_told_when_to_come_back(stack: RunningStack, limited: str) -> None:
    async with bank_at(limited, stack.postgres_dsn) as eager, bank_at(limited, stack.postgres_dsn) as calm:
        answers = [await eager.http.get("/v1/event-types") for _ in range(6)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429]
        assert_problem(answers[-1], 429, "too-many-requests")
        assert 1 <= int(answers[-1].headers["Retry-After"]) <= 10
        assert answers[0].headers["RateLimit-Policy"] == '"key";q=5;w=50'
        assert answers[0].headers["RateLimit"].startswith('"key";r=4;t=')
        assert answers[-1].headers["RateLimit"].startswith('"key";r=0;t=')
        # Another key has a bucket of its own; who watches the process has none.
        assert (await calm.http.get("/v1/event-types")).status_code == 200
        assert "RateLimit" not in (await eager.http.get("/healthz")).headers


async def test_pages_of_an_origin_that_is_named_may_ask(stack: RunningStack, limited: str) -> None:
    async with bank_at(limited, stack.postgres_dsn) as bank:
        asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization, prefer"}
        before = await bank.http.options("/v1/transactions", headers={**asked, "Authorization": ""})
        assert before.status_code == 200
        assert before.headers["access-control-allow-origin"] == ORIGIN
        answer = await bank.http.get("/v1/event-types", headers={"Origin": ORIGIN})
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert "access-control-allow-credentials" not in answer.headers
        other = await bank.http.get("/v1/event-types", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers
        refused = await bank.http.options("/v1/transactions", headers={**asked, "Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in refused.headers


async def test_no_page_may_ask_unless_an_origin_is_named(bank: Bank) -> None:
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    answer = await bank.http.options("/v1/transactions", headers=asked)
    assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_wrong_method_is_a_problem_that_names_the_right_ones(bank: Bank) -> None:
    for method, path, allowed in (
        ("DELETE", "/v1/transactions", "GET, POST"),
        ("PUT", "/v1/accounts/A1", "GET, PATCH"),
        ("GET", "/v1/transactions/batch", "POST"),
        ("POST", "/openapi.json", "GET"),
    ):
        answer = await bank.http.request(method, path)
        assert_problem(answer, 405, "method-not-allowed")
        assert answer.headers["Allow"] == allowed, path


async def test_answer_has_the_request_id_that_was_given(bank: Bank) -> None:
    for path in ("/v1/event-types", "/v1/nowhere", "/healthz"):
        assert (await bank.http.get(path, headers={"Request-Id": "mine-1"})).headers["Request-Id"] == "mine-1"
