"""A proxy in front of one TCP server that can refuse, hang, and swallow answers, so that faults are tested without touching the server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from functools import partial
from types import TracebackType
from typing import Self

_CHUNK_BYTES = 64 * 1024


class TcpProxy:
    """Forwards bytes. Use it with ``async with``. The port stays the same while the proxy refuses, as a server's does."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._server_port = host, port
        self.port = 0
        self._listener: socket.socket | None = None
        self._questions, self._answers = asyncio.Event(), asyncio.Event()
        self._connections: set[asyncio.Task[None]] = set()

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
        for connection in self._connections:
            connection.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    def hang(self) -> None:
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
                    directions.create_task(_forward(client, server, self._questions))
                    directions.create_task(_forward(server, client, self._answers))
            except* (asyncio.CancelledError, OSError):
                pass


async def _forward(source: socket.socket, target: socket.socket, flowing: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    while chunk := await loop.sock_recv(source, _CHUNK_BYTES):
        await flowing.wait()
        await loop.sock_sendall(target, chunk)
    raise ConnectionError  # one side has closed: the other is closed too
