"""Payment files of the tests: handed in, and waited for."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from tests.integration.api.bank import Bank

HEADER = "debtor,creditor,amount,currency"
WITHIN_SECONDS = 120


def csv_of(*lines: str, header: str = HEADER) -> bytes:
    return "\n".join((header, *lines, "")).encode()


async def hand_in(bank: Bank, content: bytes, *, mode: str = "best-effort", media_type: str = "text/csv") -> httpx.Response:
    return await bank.http.post("/v1/files", params={"mode": mode}, content=content, headers={"Content-Type": media_type})


async def look(bank: Bank, file_id: str) -> dict[str, Any]:
    found = await bank.http.get(f"/v1/files/{file_id}")
    assert found.status_code == 200, found.text
    content: dict[str, Any] = found.json()
    return content


async def over(bank: Bank, file_id: str, *, within_seconds: float = WITHIN_SECONDS) -> dict[str, Any]:
    """The file once it is over."""
    async with asyncio.timeout(within_seconds):
        while (file := await look(bank, file_id))["finished_at"] is None:  # noqa: ASYNC110  HTTP tells nobody by itself
            await asyncio.sleep(0.1)
    return file


async def carried_out(bank: Bank, content: bytes, *, mode: str = "best-effort") -> dict[str, Any]:
    taken = await hand_in(bank, content, mode=mode)
    assert taken.status_code == 202, taken.text
    assert taken.headers["Location"] == f"/v1/files/{taken.json()['file_id']}"
    return await over(bank, taken.json()["file_id"])


async def lines_of(bank: Bank, file_id: str, **query: str | int) -> list[dict[str, Any]]:
    found = await bank.http.get(f"/v1/files/{file_id}/lines", params=query)
    assert found.status_code == 200, found.text
    lines: list[dict[str, Any]] = found.json()["lines"]
    return lines
