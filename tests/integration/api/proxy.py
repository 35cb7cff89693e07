"""A proxy in front of any TCP server that can refuse and hang, so that faults are tested without stopping the server."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self

_CHUNK_BYTES = 65_536


class TcpProxy:
    """Forwards bytes. Use it with ``async with``; the port stays the same while it refuses, as a server's does."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._server_port = host, port
        self.port = 0
        self._server: asyncio.Server | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        return f"{self._host}:{self.port}"

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self.refuse()

    async def accept(self) -> None:
        """Forward from now on."""
        self._flowing.set()
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

    async def hang(self) -> None:
        """Accept everything, answer nothing, until :meth:`accept`."""
        self._flowing.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        upstream: asyncio.StreamWriter | None = None
        try:
            answers, upstream = await asyncio.open_connection(self._host, self._server_port)
            async with asyncio.TaskGroup() as directions:
                directions.create_task(self._forward(reader, upstream))
                directions.create_task(self._forward(answers, writer))
        except* (asyncio.CancelledError, ConnectionError):
            pass
        finally:
            self._connections.discard(task)
            for side in (writer, upstream):
                if side is not None:
                    side.close()
                    with contextlib.suppress(ConnectionError):
                        await side.wait_closed()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(_CHUNK_BYTES):
            await self._flowing.wait()
            writer.write(chunk)
            await writer.drain()
        message = "one side has closed"
        raise ConnectionResetError(message)
