"""Ports on loopback: those that the settings ask for, else the ones of the last start, else the defaults; a free one where it is in use."""

from __future__ import annotations

import errno
import json
import secrets
import socket
from typing import TYPE_CHECKING, Final, Self

from infra.stack.model import read_json_object, write_private

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

LOOPBACK: Final = "127.0.0.1"
DEFAULT_PORTS: Final = {
    "postgres": 5433,  # beside a system PostgreSQL, which has 5432
    "temporal": 7233,
    "temporal-ui": 8233,
    "temporal-http": 7243,
    "temporal-metrics": 7253,
    "kafka": 9092,
    "kafka-controller": 9093,
    "api": 8080,
    "worker-metrics": 9464,
    "consumer-metrics": 9465,
}
TEMPORAL_SERVICE_PORTS: Final = {
    "temporal-history": 7234,
    "temporal-matching": 7235,
    "temporal-worker": 7239,
    "temporal-frontend-membership": 6933,
    "temporal-history-membership": 6934,
    "temporal-matching-membership": 6935,
    "temporal-worker-membership": 6939,
}
"""Of a Temporal server whose services find each other as those of a cluster do; the one on SQLite has no need of them."""
_FREE_PORTS: Final = range(15_000, 32_768)
"""Where a free port is looked for: below those that Linux gives to outgoing connections, which could take it before the server does."""


def is_free(port: int) -> bool:
    """Whether nobody listens on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port in TIME_WAIT may be taken over, one in use may not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


class PortReservations:
    """Ports that a stack on this machine has chosen, so that stacks which start at the same time choose different ones.

    A server binds its port seconds after it was chosen. Until then, and for as long as the supervisor lives, a socket in Linux's abstract
    namespace says whose it is, to stacks of all users and with whatever folders: its names are of the network namespace, as are ports.
    The kernel lets go of it when the supervisor ends, however it ends.
    """

    def __init__(self) -> None:
        self._reserved: list[socket.socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        for reserved in self._reserved:
            reserved.close()

    def take(self, port: int) -> bool:
        """Reserve a port if nobody has it."""
        reserved = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            reserved.bind(f"\0casaflow-port-{port}")
        except OSError as error:
            reserved.close()
            if error.errno != errno.EADDRINUSE:
                raise
            return False
        if not is_free(port):
            reserved.close()
            return False
        self._reserved.append(reserved)
        return True

    def take_any(self) -> int:
        """Reserve a port that nobody has."""
        while not self.take(port := secrets.choice(_FREE_PORTS)):
            pass
        return port


def choose(
    path: Path, preferred: Mapping[str, int], reservations: PortReservations, defaults: Mapping[str, int] = DEFAULT_PORTS
) -> dict[str, int]:
    """Choose a port for each name of the defaults, and remember the choice.

    Args:
        path: where the choice is remembered.
        preferred: ports that the settings ask for; they come before remembered ones and defaults.
        reservations: holds the chosen ports until it is closed.
        defaults: the names, each with the port that it has where nothing else says so.
    """
    remembered = {name: port for name, port in read_json_object(path).items() if isinstance(port, int)}
    chosen: dict[str, int] = {}
    for name, default in defaults.items():
        candidates = (preferred.get(name), remembered.get(name), default)
        chosen[name] = next((port for port in candidates if port and reservations.take(port)), None) or reservations.take_any()
    write_private(path, json.dumps(chosen, indent=1) + "\n")
    return chosen
