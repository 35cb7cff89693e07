"""What is put before every endpoint: ids, headers, bounds of size, time and rate; on real ASGI applications."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from ledger.errors import InvalidInputError
from starter.api.bodies import MAX_DEPTH, check_json
from starter.api.manners import MAX_HEADERS_BYTES, MAX_URL_BYTES, Bounded, Identified
from starter.api.rate_limits import TokenBuckets


def _app(timeout_seconds: float = 30.0) -> FastAPI:
    app = FastAPI()

    @app.get("/quick")
    async def quick(request: Request) -> dict[str, str]:
        return {"path": request.url.path}

    @app.get("/slow")
    async def slow() -> None:
        await asyncio.sleep(60)

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def parts() -> Any:
            for _ in range(4):
                await asyncio.sleep(timeout_seconds)
                yield b"part "

        return StreamingResponse(parts())

    app.add_middleware(Bounded, timeout_seconds=timeout_seconds)
    app.add_middleware(Identified)
    return app


def _client(app: FastAPI, scheme: str = "http") -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=f"{scheme}://api", timeout=30)


async def test_every_answer_has_an_id_and_careful_headers() -> None:
    async with _client(_app()) as http:
        for path in ("/quick", "/nowhere"):
            answer = await http.get(path)
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert "strict-transport-security" not in answer.headers
        own = await http.get("/quick", headers={"Request-Id": "order-17"})
        assert own.headers["request-id"] == "order-17"
        made = {(await http.get("/quick", headers={"Request-Id": given})).headers["request-id"] for given in ("", "a b", "x" * 129)}
        assert len(made) == 3
        assert not made & {"a b", "x" * 129}
    async with _client(_app(), "https") as http:
        assert (await http.get("/quick")).headers["strict-transport-security"].startswith("max-age=")


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/quick?q=" + "x" * MAX_URL_BYTES, {}, 414, "uri-too-long"),
        ("/quick", {"X": "x" * MAX_HEADERS_BYTES}, 431, "headers-too-large"),
        ("/quick", {"Accept": "text/html"}, 406, "not-acceptable"),
        ("/quick", {"Accept": "application/json;q=0, image/*"}, 406, "not-acceptable"),
        ("/slow", {}, 504, "timed-out"),
    ],
)
async def test_what_is_too_much_is_refused(path: str, headers: dict[str, str], status: int, code: str) -> None:
    async with _client(_app(timeout_seconds=0.05)) as http:
        answer = await http.get(path, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert "request-id" in answer.headers


@pytest.mark.parametrize("accept", ["*/*", "application/*", "text/html, application/json;q=0.1", ""])
async def test_what_is_acceptable_is_answered(accept: str) -> None:
    async with _client(_app()) as http:
        assert (await http.get("/quick", headers={"Accept": accept})).status_code == 200


async def test_answer_that_has_begun_may_take_longer() -> None:
    async with _client(_app(timeout_seconds=0.1)) as http:
        assert (await http.get("/stream")).text == "part " * 4


def test_json_is_bounded_in_depth() -> None:
    for opened, closed in ((b"[", b"]"), (b'{"a":', b"}")):
        check_json(opened * MAX_DEPTH + b"1" + closed * MAX_DEPTH)
        with pytest.raises(InvalidInputError, match="nested"):
            check_json(opened * (MAX_DEPTH + 1) + b"1" + closed * (MAX_DEPTH + 1))
    check_json(b"[" + b",".join([b"[]"] * 1_000) + b"]")


def test_bucket_grants_a_burst_and_then_the_rate() -> None:
    now = 100.0
    buckets = TokenBuckets(per_second=2, burst=3, clock=lambda: now)
    assert [buckets.take("a") for _ in range(4)] == [(True, 2, 1), (True, 1, 1), (True, 0, 1), (False, 0, 1)]
    assert buckets.take("b")[0]
    now += 0.5
    assert [buckets.take("a")[0] for _ in range(2)] == [True, False]
    now += 60
    assert [buckets.take("a")[0] for _ in range(4)] == [True, True, True, False]
