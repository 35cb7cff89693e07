"""A proxy in front of PostgreSQL that knows its messages: it hangs after one, holds one back, or loses the answer to one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Coroutine
from types import TracebackType

from tests.integration.proxies import CHUNK_BYTES, TcpProxy

READY_FOR_QUERY = b"Z\x00\x00\x00\x05"


class PostgresProxy(TcpProxy):
    """Use it with ``async with``; the port stays the same while the proxy refuses, as a server's does."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._server_url = url
        self._hang_after: bytes | None = None
        self._watched: bytes | None = None
        self._delivers = True
        self.seen = asyncio.Event()
        """The watched message has come from the client."""
        self._release = asyncio.Event()

    @property
    def dsn(self) -> str:
        return self.url(self._server_url)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._release.set()
        await super().__aexit__(kind, error, traceback)

    async def accept(self) -> None:
        """Forward everything from now on."""
        self._hang_after = self._watched = None
        await super().accept()

    async def hang(self, *, after: bytes | None = None) -> None:
        """Accept everything, answer nothing, until :meth:`accept`; with `after`, from the first answer on that ends with these bytes."""
        if after is None:
            self._answers.clear()
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

    def _directions(self, client: socket.socket, server: socket.socket) -> tuple[Coroutine[None, None, None], Coroutine[None, None, None]]:
        lose = asyncio.Event()
        return self._ask(client, server, lose), self._answer(server, client, lose)

    async def _ask(self, client: socket.socket, server: socket.socket, lose: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(client, CHUNK_BYTES):
            if self._watched is not None and self._watched in data:
                self._watched = None
                self.seen.set()
                if self._delivers:
                    lose.set()
                else:
                    await self._release.wait()
            await loop.sock_sendall(server, data)
        raise ConnectionError

    async def _answer(self, server: socket.socket, client: socket.socket, lose: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(server, CHUNK_BYTES):
            if lose.is_set():
                break
            await self._answers.wait()
            # A client that has gone doesn't end the connection to the server: what it sent may still be on its way.
            with contextlib.suppress(OSError):
                await loop.sock_sendall(client, data)
            if self._hang_after is not None and self._hang_after in data:
                self._answers.clear()
        raise ConnectionError
