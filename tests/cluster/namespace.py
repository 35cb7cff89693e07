"""A network namespace that one part of the cluster runs in, so that the network between it and the others can really be cut.

Inside, all servers are at the same loopback addresses as outside: a forwarder there carries each connection over a pair of virtual devices
to one outside. When the pair is taken down, packets are lost in both directions and nobody is told: no connection is refused or closed.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_SCRIPT = Path(__file__).with_name("forward.py")
_OUTSIDE, _INSIDE = "10.231.77.1", "10.231.77.2"
"""Addresses of the pair's two ends, which nobody else sees."""
_READY_SECONDS = 20.0


@dataclass(frozen=True)
class Namespace:
    """The namespace, and the pair that connects it."""

    name: str
    device: str

    @property
    def before(self) -> tuple[str, ...]:
        """What runs a program inside."""
        return ("ip", "netns", "exec", self.name)

    async def cut(self) -> None:
        """Lose every packet from now on."""
        await asyncio.to_thread(_ip, "link", "set", self.device, "down")

    async def join(self) -> None:
        """Let packets through again."""
        await asyncio.to_thread(_ip, "link", "set", self.device, "up")


def why_not() -> str | None:
    """Why no namespace can be made here; None: one can."""
    if os.geteuid() != 0:
        return "only root may make a network namespace"
    if shutil.which("ip") is None:
        return "there is no program `ip` (Debian: iproute2)"
    name = f"casaflow-{secrets.token_hex(3)}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)  # noqa: S607  as root has it
    if made.returncode != 0:
        return f"the machine makes no network namespace: {made.stderr.strip()}"
    _ip("netns", "delete", name)
    return None


@contextmanager
def namespace(ports: Sequence[int]) -> Iterator[Namespace]:
    """Make one in which the servers at these loopback ports are at the same addresses."""
    suffix = secrets.token_hex(3)
    apart = Namespace(f"casaflow-{suffix}", f"cf{suffix}o")
    inner = f"cf{suffix}i"
    _ip("netns", "add", apart.name)
    forwarders: list[subprocess.Popen[bytes]] = []
    try:
        _ip("link", "add", apart.device, "type", "veth", "peer", "name", inner, "netns", apart.name)
        _ip("address", "add", f"{_OUTSIDE}/30", "dev", apart.device)
        _ip("link", "set", apart.device, "up")
        _ip("-n", apart.name, "address", "add", f"{_INSIDE}/30", "dev", inner)
        _ip("-n", apart.name, "link", "set", inner, "up")
        _ip("-n", apart.name, "link", "set", "lo", "up")
        told = [str(port) for port in ports]
        forwarders.append(subprocess.Popen([sys.executable, str(_SCRIPT), _OUTSIDE, "127.0.0.1", *told], stdin=subprocess.DEVNULL))
        inside = [*apart.before, sys.executable, str(_SCRIPT), "127.0.0.1", _OUTSIDE, *told]
        forwarders.append(subprocess.Popen(inside, stdin=subprocess.DEVNULL))
        _wait_until_connected(apart, ports[0])
        yield apart
    finally:
        for forwarder in forwarders:
            forwarder.kill()
            forwarder.wait()
        _ip("netns", "delete", apart.name)


def _wait_until_connected(apart: Namespace, port: int) -> None:
    connect = f"import socket; socket.create_connection(('127.0.0.1', {port}), 2).close()"
    deadline = time.monotonic() + _READY_SECONDS
    while subprocess.run([*apart.before, sys.executable, "-c", connect], capture_output=True, check=False).returncode != 0:
        assert time.monotonic() < deadline, "nothing is forwarded into the namespace"
        time.sleep(0.1)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)  # noqa: S607  as above
