"""A real HTTP server on loopback that plays the ECB, and its bad days."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Self

DAILY = """<?xml version="1.0" encoding="UTF-8"?>
<gesmes:Envelope xmlns:gesmes="http://www.gesmes.org/xml/2002-08-01" xmlns="http://www.ecb.int/vocabulary/2002-08-01/eurofxref">
	<gesmes:subject>Reference rates</gesmes:subject>
	<gesmes:Sender>
		<gesmes:name>European Central Bank</gesmes:name>
	</gesmes:Sender>
	<Cube>
		<Cube time='2030-01-15'>
			<Cube currency='USD' rate='1.1172'/>
			<Cube currency='JPY' rate='175.68'/>
			<Cube currency='CZK' rate='24.353'/>
			<Cube currency='IDR' rate='20275.17'/></Cube>
	</Cube>
</gesmes:Envelope>"""

BOMB = """<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>
<lolz>&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;</lolz>"""

Answer = Callable[[asyncio.StreamWriter], None]


def answers(body: str | bytes, *, status: str = "200 OK") -> Answer:
    """Answer with a whole response."""
    content = body.encode() if isinstance(body, str) else body

    def write(writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Type: text/xml\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + content)
        writer.close()

    return write


def breaks_off(writer: asyncio.StreamWriter) -> None:
    """Promise more than is sent."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n<?xml")
    writer.close()


def hangs(writer: asyncio.StreamWriter) -> None:
    """Begin to answer, and never end."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n<?xml")


class RatesServer:
    """Counts the requests, and answers all of them in the way that was set last."""

    def __init__(self) -> None:
        self.answer: Answer = answers(DAILY)
        self.delay_seconds = 0.0
        self.requests = 0
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/stats/eurofxref/eurofxref-daily.xml"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            self.requests += 1
            await asyncio.sleep(self.delay_seconds)
            self.answer(writer)
