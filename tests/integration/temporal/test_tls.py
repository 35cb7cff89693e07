"""Temporal behind a proxy that speaks TLS and asks for certificates: what is configured well gets through, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from infra.settings import Settings
from infra.temporal.client import connect
from ledger.errors import UnavailableError
from tests.stack_fixtures import RunningStack
from tests.unit.temporal.certificates import Authority

SERVER_NAME = "temporal.bank.example"


@asynccontextmanager
async def tls_proxy(stack: RunningStack, context: ssl.SSLContext) -> AsyncIterator[int]:
    """A port on which TLS ends and the stack's Temporal begins."""
    host, port = stack.temporal_address.split(":")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(host, int(port))
        with contextlib.suppress(OSError):
            await asyncio.gather(_forward(reader, server_writer), _forward(server_reader, writer))

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()
    finally:
        writer.close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def proxy(stack: RunningStack, authority: Authority) -> AsyncIterator[int]:
    """Takes only clients with a certificate of the authority."""
    files = authority.issue("server", hosts=(SERVER_NAME,))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)
    context.load_verify_locations(authority.file)
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2"])
    async with tls_proxy(stack, context) as port:
        yield port


def _settings(port: int, authority: Authority, **changes: Any) -> Settings:
    client = authority.issue("client")
    given = {
        "temporal_address": f"127.0.0.1:{port}",
        "temporal_tls_ca": authority.file,
        "temporal_tls_cert": client.cert,
        "temporal_tls_key": client.key,
        "temporal_tls_server_name": SERVER_NAME,
    }
    return Settings.model_validate({**given, **changes})


async def test_with_authority_certificate_and_name_the_server_is_reached_also_with_an_api_key(proxy: int, authority: Authority) -> None:
    for api_key in (None, "an-api-key"):
        client = await connect(_settings(proxy, authority, temporal_api_key=api_key))
        assert await client.service_client.check_health()


@pytest.mark.parametrize(
    "changes",
    [
        {"temporal_tls_server_name": "somebody.else.example"},
        {"temporal_tls_server_name": None},
        {"temporal_tls_cert": None, "temporal_tls_key": None},
        {"temporal_tls_ca": None},
    ],
    ids=["another name", "no name, and the address isn't in the certificate", "no client certificate", "an authority that nobody knows"],
)
async def test_what_does_not_fit_is_not_trusted(proxy: int, authority: Authority, changes: dict[str, Any]) -> None:
    with pytest.raises(UnavailableError, match="temporal is not available"):
        await connect(_settings(proxy, authority, **changes))


async def test_a_client_certificate_of_somebody_else_is_not_trusted(proxy: int, authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other", "stranger").issue("client")
    with pytest.raises(UnavailableError, match="temporal is not available"):
        await connect(_settings(proxy, authority, temporal_tls_cert=stranger.cert, temporal_tls_key=stranger.key))


async def test_without_tls_a_server_that_speaks_it_is_not_reached(proxy: int) -> None:
    with pytest.raises(UnavailableError, match="temporal is not available"):
        await connect(Settings(temporal_address=f"127.0.0.1:{proxy}"))
