"""A proxy in front of one TCP server that can refuse, hang, and swallow answers, so that faults are tested without touching the server."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self

_CHUNK_BYTES = 64 * 1024


class TcpProxy:
    """Forwards bytes. Use it with ``async with``. The port stays the same while the proxy refuses, as a server's does."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._server_port = host, port
        self.port = 0
        self._server: asyncio.Server | None = None
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
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, self._host, self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Close all connections, and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
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

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        upstream: asyncio.StreamWriter | None = None
        try:
            answers, upstream = await asyncio.open_connection(self._host, self._server_port)
            async with asyncio.TaskGroup() as directions:
                directions.create_task(_forward(reader, upstream, self._questions))
                directions.create_task(_forward(answers, writer, self._answers))
        except* (asyncio.CancelledError, ConnectionError):
            pass
        finally:
            self._connections.discard(task)
            for side in (writer, upstream):
                if side is not None:
                    side.close()
                    with contextlib.suppress(ConnectionError):
                        await side.wait_closed()


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flowing: asyncio.Event) -> None:
    while chunk := await reader.read(_CHUNK_BYTES):
        await flowing.wait()
        writer.write(chunk)
        await writer.drain()
    raise ConnectionError  # one side has closed: the other is closed too
