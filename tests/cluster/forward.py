"""Carries connections on: ``python tests/cluster/forward.py LISTEN TARGET PORT...``, from each port of one address to that of another."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from functools import partial

_CHUNK_BYTES = 64 * 1024


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(_CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    writer.close()


async def _serve(target: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        there, answers = await asyncio.open_connection(target, port)
    except OSError:
        writer.close()
        return
    await asyncio.gather(_carry(reader, answers), _carry(there, writer))


async def main(listen: str, target: str, ports: list[int]) -> None:
    """Carry until killed."""
    servers = [await asyncio.start_server(partial(_serve, target, port), listen, port) for port in ports]
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], [int(port) for port in sys.argv[3:]]))
