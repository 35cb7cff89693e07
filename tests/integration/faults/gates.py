"""Servers that catch a worker at one place: what it says there, or what it would hear, is held until the gate is opened.

So a fault happens at a known moment of a transaction and not at any: before a commit, once it is done and nobody knows, after its answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import socket
from collections.abc import Coroutine
from types import TracebackType
from typing import Self

from tests.integration.proxies import CHUNK_BYTES, KafkaProxy, TcpProxy

COMMITTED = b"COMMIT\0"
"""As it stands in the client's message and in the server's answer."""
CZK_PER_EURO = "25.000"
_PRODUCE = (0).to_bytes(2, "big")
"""Kafka's number of the request that carries records; it follows the four bytes of a request's length."""


class Gate:
    """Whether somebody was caught, and whether he may go on."""

    def __init__(self) -> None:
        self.caught = asyncio.Event()
        self._opened = asyncio.Event()

    def open(self) -> None:
        """Let what is held go on, and hold nothing any more."""
        self._opened.set()

    @property
    def is_open(self) -> bool:
        return self._opened.is_set()

    async def hold(self) -> None:
        self.caught.set()
        await self._opened.wait()


class GatedPostgres(TcpProxy):
    """Holds messages of a client's, or the answer to one, with all that follows on their connections."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._gate: Gate | None = None
        self._message = b""
        self._passes = 0
        self._holds_answer = False

    def catch_question(self, gate: Gate, message: bytes, *, after: int = 0) -> None:
        """Hold every message with these bytes, after so many that may pass: the server doesn't hear of them, nor of another attempt's."""
        self._gate, self._message, self._passes, self._holds_answer = gate, message, after, False

    def catch_commit(self, gate: Gate, *, after: int = 0) -> None:
        """Let the COMMIT pass, after so many others, and hold the answer: the server has committed, and the client doesn't know."""
        self._gate, self._message, self._passes, self._holds_answer = gate, COMMITTED, after, True

    def _is_watched(self, data: bytes) -> bool:
        if self._gate is None or self._gate.is_open or self._message not in data:
            return False
        if self._holds_answer and self._gate.caught.is_set():
            return False
        self._passes -= 1
        return self._passes < 0

    def _directions(self, client: socket.socket, server: socket.socket) -> tuple[Coroutine[None, None, None], Coroutine[None, None, None]]:
        committing = asyncio.Event()
        return self._ask(client, server, committing), self._answer(server, client, committing)

    async def _ask(self, client: socket.socket, server: socket.socket, committing: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(client, CHUNK_BYTES):
            if self._is_watched(data) and self._gate is not None:
                if self._holds_answer:
                    committing.set()
                else:
                    await self._gate.hold()
            await loop.sock_sendall(server, data)
        raise ConnectionError

    async def _answer(self, server: socket.socket, client: socket.socket, committing: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        held = b""
        while data := await loop.sock_recv(server, CHUNK_BYTES):
            held += data
            if committing.is_set() and self._gate is not None and not self._gate.is_open:
                if COMMITTED not in held:
                    continue  # the answers to what came before the COMMIT
                await self._gate.hold()
            with contextlib.suppress(OSError):
                await loop.sock_sendall(client, held)
            held = b""
        raise ConnectionError


class GatedKafka(KafkaProxy):
    """Holds the answer to the first records that are sent: the broker has them, and the publisher doesn't know."""

    def __init__(self, server: str) -> None:
        super().__init__(server)
        self._gate: Gate | None = None
        self._produced = False

    def catch_acknowledgement(self, gate: Gate) -> None:
        """Hold the broker's answers once records were sent to it."""
        self._gate, self._produced = gate, False

    async def _ask(self, client: socket.socket, server: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(client, CHUNK_BYTES):
            self._produced = self._produced or data[4:6] == _PRODUCE
            await loop.sock_sendall(server, data)
        raise ConnectionError

    async def _before_answer(self) -> None:
        if self._gate is not None and self._produced:
            await self._gate.hold()


class GatedRates:
    """Serves the ECB's daily file, and holds the answer. Use it with ``async with``."""

    def __init__(self) -> None:
        self._gate: Gate | None = None
        self._server: asyncio.Server | None = None
        self.refuses = False
        """Whether it answers 503."""
        self.asked = 0

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/daily.xml"

    def catch_answer(self, gate: Gate) -> None:
        self._gate = gate

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            self.asked += 1
            if self._gate is not None:
                await self._gate.hold()
            status = b"503 Service Unavailable" if self.refuses else b"200 OK"
            body = b"" if self.refuses else _daily_file()
            head = b"HTTP/1.1 %b\r\nContent-Type: text/xml\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
            writer.write(head % (status, len(body)) + body)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the worker was killed, or asks no more
        finally:
            writer.close()


def _daily_file() -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<gesmes:Envelope xmlns:gesmes="http://www.gesmes.org/xml/2002-08-01" xmlns="http://www.ecb.int/vocabulary/2002-08-01/eurofxref">'
        f'<Cube><Cube time="{dt.datetime.now(dt.UTC).date()}"><Cube currency="CZK" rate="{CZK_PER_EURO}"/></Cube></Cube>'
        "</gesmes:Envelope>"
    ).encode()
