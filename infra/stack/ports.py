"""Ports on loopback: the ones of the last start if they are free, else the defaults, else any free one."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Final

from infra.stack.model import read_json_object, write_private

if TYPE_CHECKING:
    from pathlib import Path

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
}


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


def _any_free(taken: set[int]) -> int:
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((LOOPBACK, 0))
            port = int(probe.getsockname()[1])
        if port not in taken:
            return port


def choose(path: Path, preferred: dict[str, int]) -> dict[str, int]:
    """Choose a port for each name of :data:`DEFAULT_PORTS`, and remember the choice.

    Args:
        path: where the choice is remembered.
        preferred: ports that the settings ask for; they come before remembered ones and defaults.
    """
    remembered = {name: port for name, port in read_json_object(path).items() if isinstance(port, int)}
    chosen: dict[str, int] = {}
    for name, default in DEFAULT_PORTS.items():
        taken = set(chosen.values())
        candidates = (remembered.get(name), preferred.get(name), default)
        free = (port for port in candidates if port and port not in taken and is_free(port))
        chosen[name] = next(free, None) or _any_free(taken)
    write_private(path, json.dumps(chosen, indent=1) + "\n")
    return chosen
