"""A proxy in front of one Kafka broker that can refuse and hang, so that faults are tested without stopping the broker."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self

_LENGTH_BYTES = 4


class KafkaProxy:
    """Forwards Kafka's frames, and rewrites the broker's port in the answers, so that clients come back through it.

    Use it with ``async with``. The port stays the same while the proxy refuses, as a broker's does.
    """

    def __init__(self, bootstrap_servers: str) -> None:
        host, _, port = bootstrap_servers.partition(":")
        self._host, self._broker_port = host, int(port)
        self.port = 0
        self._server: asyncio.Server | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def bootstrap_servers(self) -> str:
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

    def hang(self) -> None:
        """Accept everything, answer nothing, until :meth:`accept`."""
        self._flowing.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        upstream: asyncio.StreamWriter | None = None
        try:
            answers, upstream = await asyncio.open_connection(self._host, self._broker_port)
            async with asyncio.TaskGroup() as directions:
                directions.create_task(self._forward(reader, upstream, rewrite=False))
                directions.create_task(self._forward(answers, writer, rewrite=True))
        except* (asyncio.CancelledError, ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._connections.discard(task)
            for side in (writer, upstream):
                if side is not None:
                    side.close()
                    with contextlib.suppress(ConnectionError):
                        await side.wait_closed()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, rewrite: bool) -> None:
        real = self._host.encode() + self._broker_port.to_bytes(_LENGTH_BYTES, "big")
        ours = self._host.encode() + self.port.to_bytes(_LENGTH_BYTES, "big")
        while True:
            length = await reader.readexactly(_LENGTH_BYTES)
            frame = await reader.readexactly(int.from_bytes(length, "big"))
            await self._flowing.wait()
            writer.write(length + (frame.replace(real, ours) if rewrite else frame))
            await writer.drain()
