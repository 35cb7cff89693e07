"""The codec server as a process of its own, with a key for it and one for the API."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from infra.postgres.api_keys import PostgresApiKeys
from infra.postgres.database import Database
from ledger.scopes import Scope
from tests.stack_fixtures import RunningStack
from tests.workflow.conftest import eventually


@dataclass
class CodecServer:
    """Where it is, and what opens it."""

    url: str
    key: str
    """With the scope `payloads`."""
    api_key: str
    """With the scope `all`."""
    http: httpx.AsyncClient

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    async def decode(self, payloads: dict[str, Any], headers: dict[str, str]) -> httpx.Response:
        return await self.http.post("/decode", json=payloads, headers={**self.bearer, **headers})


@asynccontextmanager
async def codec_server(stack: RunningStack, *, payload_keys: str, origins: str = "") -> AsyncIterator[CodecServer]:
    """`casaflow codec`, as its process."""
    database = Database.open(stack.postgres_dsn, pool_size=1)
    _, key = await PostgresApiKeys(database).create("main", "operator", [Scope.PAYLOADS])
    _, api_key = await PostgresApiKeys(database).create("main", "teller")
    await database.close()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "CASAFLOW_POSTGRES_URL": stack.postgres_dsn,
        "CASAFLOW_PAYLOAD_KEYS": payload_keys,
        "CASAFLOW_CODEC_PORT": str(port),
        "CASAFLOW_CODEC_ORIGINS": origins,
    }
    url = f"http://127.0.0.1:{port}"
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "starter.codec", env=environment)
    try:
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as client:

            async def serves() -> bool:
                try:
                    return (await client.get("/healthz")).is_success
                except httpx.TransportError:
                    return False

            await eventually(serves, seconds=60)
            yield CodecServer(url, key, api_key, client)
    finally:
        process.terminate()
        await process.wait()
