"""A proxy in front of PostgreSQL that refuses, hangs and loses messages, so that faults are tested without touching the server."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self

from sqlalchemy.engine import make_url

_CHUNK_BYTES = 65_536
READY_FOR_QUERY = b"Z\x00\x00\x00\x05"


class PostgresProxy:
    """Forwards bytes both ways. Use it with ``async with``; the port stays the same while the proxy refuses, as a server's does."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        assert self._url.host is not None
        self._host, self._server_port = self._url.host, self._url.port
        self.port = 0
        self._listener: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._answering = asyncio.Event()
        self._answering.set()
        self._hang_after: bytes | None = None
        self._watched: bytes | None = None
        self._delivers = True
        self.seen = asyncio.Event()
        """The watched message has come from the client."""
        self._release = asyncio.Event()

    @property
    def url(self) -> str:
        return self._url.set(host=self._host, port=self.port).render_as_string(hide_password=False)

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._release.set()
        await self.refuse()

    async def accept(self) -> None:
        """Forward everything from now on."""
        self._answering.set()
        self._hang_after = self._watched = None
        if self._listener is None:
            self._listener = await asyncio.start_server(self._serve, self._host, self.port)
            self.port = self._listener.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Close all connections of now; new ones are forwarded."""
        for connection in self._connections:
            connection.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    async def refuse(self) -> None:
        """Close all connections, and refuse new ones."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        await self.cut()

    def hang(self, *, after: bytes | None = None) -> None:
        """Accept everything, answer nothing, until :meth:`accept`; with `after`, from the first answer on that ends with these bytes."""
        if after is None:
            self._answering.clear()
        self._hang_after = after

    def hold(self, message: bytes) -> None:
        """Keep the next client message that contains `message`, and all that follow on its connection, until :meth:`deliver`.

        Its connection to the server stays open meanwhile, even when the client gives up, as a packet does that is late.
        """
        self._watched, self._delivers = message, False
        self.seen.clear()
        self._release.clear()

    def deliver(self) -> None:
        """Let the held message through."""
        self._release.set()

    def lose_the_answer_to(self, message: bytes) -> None:
        """Deliver the next client message that contains `message`, wait for the server's answer, throw it away, and cut the connection."""
        self._watched, self._delivers = message, True
        self.seen.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        server_writer: asyncio.StreamWriter | None = None
        lose = asyncio.Event()
        try:
            server_reader, server_writer = await asyncio.open_connection(self._host, self._server_port)
            async with asyncio.TaskGroup() as directions:
                directions.create_task(self._requests(reader, server_writer, lose))
                directions.create_task(self._answers(server_reader, writer, lose))
        except* (asyncio.CancelledError, ConnectionError):
            pass
        finally:
            self._connections.discard(task)
            for side in (writer, server_writer):
                if side is not None:
                    side.close()
                    with contextlib.suppress(ConnectionError):
                        await side.wait_closed()

    async def _requests(self, client: asyncio.StreamReader, server: asyncio.StreamWriter, lose: asyncio.Event) -> None:
        while data := await client.read(_CHUNK_BYTES):
            if self._watched is not None and self._watched in data:
                self._watched = None
                self.seen.set()
                if self._delivers:
                    lose.set()
                else:
                    await self._release.wait()
            server.write(data)
            await server.drain()
        raise ConnectionResetError

    async def _answers(self, server: asyncio.StreamReader, client: asyncio.StreamWriter, lose: asyncio.Event) -> None:
        while data := await server.read(_CHUNK_BYTES):
            if lose.is_set():
                break
            await self._answering.wait()
            client.write(data)
            # A client that has gone doesn't end the connection to the server: what it sent may still be on its way.
            with contextlib.suppress(ConnectionError):
                await client.drain()
            if self._hang_after is not None and self._hang_after in data:
                self._answering.clear()
        raise ConnectionResetError
