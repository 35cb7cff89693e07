"""What a cluster of PostgreSQL says of itself: which server takes writes, and how many copy it."""

from __future__ import annotations

from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from ledger.errors import UnavailableError

_CONNECT_SECONDS: Final = 3
_COUNT: Final = "SELECT pg_is_in_recovery(), (SELECT count(*) FROM pg_stat_replication)"


async def copying_standbys(url: str) -> int:
    """How many standbys copy the server that takes writes.

    Args:
        url: libpq URL; of several hosts, it says by ``target_session_attrs=read-write`` that the one is meant that takes writes.

    Raises:
        UnavailableError: no server answered that takes writes.
    """
    try:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True, connect_timeout=_CONNECT_SECONDS) as connection:
            found = await (await connection.execute(_COUNT)).fetchone()
    except psycopg.OperationalError as error:
        raise UnavailableError(part="postgres", detail=str(error).strip().splitlines()[0]) from error
    if found is None or found[0]:
        raise UnavailableError(part="postgres", detail="the server that answers is a standby, which takes no writes")
    return int(found[1])


def hosts_of(url: str) -> list[str]:
    """The hosts that a libpq URL names; a folder of sockets, or nothing, is this machine.

    Raises:
        ValueError: it is none.
    """
    try:
        named = conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        message = "must be a libpq URL such as postgresql://user:password@127.0.0.1:5432/casaflow"
        raise ValueError(message) from error
    return [host for key in ("host", "hostaddr") for host in str(named.get(key) or "").split(",") if host and not host.startswith("/")]
