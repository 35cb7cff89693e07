"""The faults, one at a time: each kills, cuts or restarts something, and brings it back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from tests.cluster.cluster import Cluster
from tests.cluster.namespace import Namespace

AWAY_SECONDS: Final = 12.0
"""How long a part stays away that others can do without: longer than it takes them to notice."""


@dataclass(frozen=True)
class Fault:
    """One fault of a cluster."""

    name: str
    inflict: Callable[[], Awaitable[None]]
    """Makes the fault."""
    mend: Callable[[], Awaitable[None]]
    """Brings back what was away, after a while."""


def faults_of(cluster: Cluster, apart: Namespace | None) -> list[Fault]:
    """All faults, in the order in which they are made; the cut only where there is a network to cut."""
    failovers = [(time, _Failover(cluster)) for time in ("primary", "next primary")]
    faults = [
        Fault(f"PostgreSQL's {time} killed, standby promoted", failover.kill_and_promote, failover.make_new_standby)
        for time, failover in failovers
    ]
    faults.append(Fault("temporal killed, started at once", partial(_kill, cluster, "temporal"), partial(_start, cluster, "temporal")))
    if apart is not None:
        faults.append(Fault("worker-2 cut off from the network", apart.cut, partial(_join_later, apart)))
    killed = [name for name, part in cluster.parts.items() if part.kind in {"kafka", "worker", "api", "consumer"}]
    faults += [Fault(f"{name} killed", partial(_kill, cluster, name), partial(_start_later, cluster, name)) for name in killed]
    return faults


@dataclass
class _Failover:
    cluster: Cluster
    lost: str = ""

    async def kill_and_promote(self) -> None:
        self.lost = await asyncio.to_thread(self.cluster.primary)
        await _kill(self.cluster, self.lost)
        standby = "postgres-2" if self.lost == "postgres-1" else "postgres-1"
        await asyncio.to_thread(self.cluster.promote, standby)

    async def make_new_standby(self) -> None:
        await _start_later(self.cluster, self.lost)


async def _kill(cluster: Cluster, name: str) -> None:
    await asyncio.to_thread(cluster.kill, name)


async def _start(cluster: Cluster, name: str) -> None:
    await asyncio.to_thread(cluster.start, name)


async def _start_later(cluster: Cluster, name: str) -> None:
    await asyncio.sleep(AWAY_SECONDS)
    await _start(cluster, name)


async def _join_later(apart: Namespace) -> None:
    await asyncio.sleep(AWAY_SECONDS)
    await apart.join()
