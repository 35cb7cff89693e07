"""Proxies in front of one server that can refuse, hang, and swallow answers, so that faults are tested without touching the server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

CHUNK_BYTES = 64 * 1024
_LENGTH_BYTES = 4


class TcpProxy:
    """Forwards bytes. Use it with ``async with``. The port stays the same while the proxy refuses, as a server's does."""

    def __init__(self, server: str) -> None:
        """Take where the server is: ``host:port``, or a URL."""
        parts = urlsplit(server if "//" in server else f"//{server}")
        assert parts.hostname is not None
        assert parts.port is not None
        self._host, self._server_port = parts.hostname, parts.port
        self.port = 0
        self._listener: socket.socket | None = None
        self._questions, self._answers = asyncio.Event(), asyncio.Event()
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        return f"{self._host}:{self.port}"

    def url(self, server_url: str) -> str:
        """The URL of the server, through this proxy."""
        parts = urlsplit(server_url)
        return parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@{self.address}").geturl()

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self.refuse()

    async def accept(self) -> None:
        """Forward from now on, what was held back included."""
        self._questions.set()
        self._answers.set()
        if self._listener is None:
            # Plain sockets: of a connection that asyncio's own server or streams lose while they are cancelled, nothing can be closed.
            self._listener = socket.create_server((self._host, self.port))
            self._listener.settimeout(0)
            self.port = self._listener.getsockname()[1]
            asyncio.get_running_loop().add_reader(self._listener, self._accept_one, self._listener)

    async def refuse(self) -> None:
        """Close all connections, and refuse new ones."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        await self.cut()

    async def cut(self) -> None:
        """Close all connections of now."""
        for connection in self._connections:
            connection.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    async def hang(self) -> None:
        """Accept everything and pass nothing on, in either direction, until :meth:`accept`."""
        self._questions.clear()
        self._answers.clear()

    def swallow_answers(self) -> None:
        """Pass on what clients say, and keep the server's answers back: what was committed is committed, and nobody hears of it."""
        self._answers.clear()

    def _accept_one(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            client, _ = listener.accept()
            client.settimeout(0)
            task = asyncio.create_task(self._serve(client))
            self._connections.add(task)
            task.add_done_callback(partial(self._ended, client))

    def _ended(self, client: socket.socket, task: asyncio.Task[None]) -> None:
        self._connections.discard(task)
        client.close()

    async def _serve(self, client: socket.socket) -> None:
        with socket.socket() as server:
            server.settimeout(0)
            try:
                await asyncio.get_running_loop().sock_connect(server, (self._host, self._server_port))
                async with asyncio.TaskGroup() as directions:
                    for direction in self._directions(client, server):
                        directions.create_task(direction)
            except* (asyncio.CancelledError, OSError):
                pass

    def _directions(self, client: socket.socket, server: socket.socket) -> tuple[Coroutine[None, None, None], Coroutine[None, None, None]]:
        """What carries a connection's questions and its answers; it ends with an OSError once one side has closed."""
        return _forward(client, server, self._questions), _forward(server, client, self._answers)


class KafkaProxy(TcpProxy):
    """Forwards Kafka's frames, and rewrites the broker's port in the answers, so that clients come back through it."""

    def _directions(self, client: socket.socket, server: socket.socket) -> tuple[Coroutine[None, None, None], Coroutine[None, None, None]]:
        real = self._host.encode() + self._server_port.to_bytes(_LENGTH_BYTES, "big")
        ours = self._host.encode() + self.port.to_bytes(_LENGTH_BYTES, "big")
        return self._ask(client, server), _forward_frames(server, client, self._before_answer, real, ours)

    async def _ask(self, client: socket.socket, server: socket.socket) -> None:
        await _forward(client, server, self._questions)

    async def _before_answer(self) -> None:
        """Return once the next answer of the broker's may go on."""
        await self._answers.wait()


async def _forward(source: socket.socket, target: socket.socket, flowing: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    while chunk := await loop.sock_recv(source, CHUNK_BYTES):
        await flowing.wait()
        await loop.sock_sendall(target, chunk)
    raise ConnectionError  # one side has closed: the other is closed too


async def _forward_frames(
    source: socket.socket, target: socket.socket, may_go_on: Callable[[], Awaitable[None]], real: bytes, ours: bytes
) -> None:
    loop = asyncio.get_running_loop()
    while True:
        length = await _exactly(source, _LENGTH_BYTES)
        frame = await _exactly(source, int.from_bytes(length, "big"))
        await may_go_on()
        # A port has the same number of bytes, so the length stays.
        await loop.sock_sendall(target, length + frame.replace(real, ours))


async def _exactly(source: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        chunk = await asyncio.get_running_loop().sock_recv(source, size - len(received))
        if not chunk:
            raise ConnectionError
        received += chunk
    return bytes(received)
