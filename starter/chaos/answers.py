"""Whether a part does its work again: it is asked, as those that use it do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from infra.kafka.connection import connection_of
from infra.postgres.standbys import copying_standbys
from infra.stack.answering import group_has, has_connections, listens, living_brokers, page_answers, temporal_answers, worker_polls
from ledger.errors import UnavailableError
from starter.chaos.system import Kind

if TYPE_CHECKING:
    from infra.settings import Settings
    from starter.chaos.system import Part, Process, System

_ANSWER_SECONDS: Final = 5.0


class Answers:
    """What the parts of one system answer."""

    def __init__(self, system: System, settings: Settings) -> None:
        """Take the system, and settings that name its servers."""
        self._system = system
        self._settings = settings
        self._kafka = connection_of(settings)
        self.brokers = 0
        """How many brokers there have to be."""
        self.standbys = 0
        """How many standbys have to copy the primary."""

    async def count(self) -> None:
        """See how many brokers and standbys there are while everything is well.

        Raises:
            UnavailableError: a server does not answer.
        """
        self.brokers = await living_brokers(self._kafka)
        self.standbys = await copying_standbys(self._system.postgres_dsn)
        if not self.brokers:
            raise UnavailableError(part="kafka", detail=f"no broker answers at {self._system.kafka_bootstrap_servers}")

    async def answers(self, part: Part, process: Process) -> bool:
        """Whether this process does its part's work; one that doesn't answer within some seconds doesn't."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return self._listens(part, process) and await self._does_its_work(part, process)
        except (TimeoutError, UnavailableError):
            return False

    def _listens(self, part: Part, process: Process) -> bool:
        if part.address is None:
            return True
        port = int(part.address.rpartition(":")[2])
        return any(listens(pid, port) for pid in _pids(process))

    async def _does_its_work(self, part: Part, process: Process) -> bool:
        pids = _pids(process)
        match part.kind:
            case Kind.API:
                does = all([await page_answers(f"{url}/readyz") for url in self._system.apis])
            case Kind.WORKER:
                does = await worker_polls(self._settings, pids)
            case Kind.RELAY:
                does = any(has_connections(pid) for pid in pids)
            case Kind.CONSUMER:
                does = all([await group_has(self._kafka, group, pids) for group in part.groups])
            case Kind.POSTGRES | Kind.STANDBY:
                wanted = self.standbys if part.kind is Kind.STANDBY else 0
                does = await copying_standbys(self._system.postgres_dsn) >= wanted
            case Kind.TEMPORAL:
                does = await temporal_answers(self._settings)
            case Kind.KAFKA:
                does = await living_brokers(self._kafka) >= self.brokers
        return does


def _pids(process: Process) -> list[int]:
    """Its own, and those of the processes below it."""
    return [process.pid, *(each.pid for each in process.below())]
