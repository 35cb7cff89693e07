"""The system that faults are committed on: where it is, which processes it has, and how each of them is found and started again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import psutil

from infra.stack import control, processes
from infra.stack.model import Health, StackHome, kind_of
from ledger.errors import InvalidInputError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from infra.settings import Settings

_COMMAND_SECONDS: Final = 120.0
"""How long the command that starts or promotes a part may take."""


class Kind(StrEnum):
    """What a part does."""

    API = "api"
    WORKER = "worker"
    RELAY = "relay"
    CONSUMER = "consumer"
    POSTGRES = "postgres"
    STANDBY = "standby"
    TEMPORAL = "temporal"
    KAFKA = "kafka"


@dataclass(frozen=True)
class Process:
    """A process, and what tells it apart from whoever gets its pid after it."""

    pid: int
    created: str
    """See :func:`infra.stack.processes.created`."""

    @property
    def lives(self) -> bool:
        """Whether it still runs, or stands frozen."""
        return processes.is_same(self.pid, self.created)

    def below(self) -> list[Process]:
        """All processes that it has started and that live, and theirs: PostgreSQL's postmaster does its work by them."""
        if not self.lives:
            return []
        try:
            found = psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return [Process(child.pid, created) for child in found if (created := processes.created(child.pid)) is not None]


@dataclass(frozen=True)
class Part:
    """One process that faults befall."""

    name: str
    kind: Kind
    find: Callable[[], Process | None]
    """The process that is this part now; None while there is none."""
    start: tuple[str, ...] | None = None
    """A command that starts it again, and then ends; None: something else does."""
    promote: tuple[str, ...] | None = None
    """Of a standby: a command that makes it the server that takes writes, and then ends."""
    address: str | None = None
    """``host:port`` where this very process listens once it does its work, where that is known."""
    groups: tuple[str, ...] = ()
    """Of a consumer: the groups that it is a member of."""


@dataclass(frozen=True)
class System:
    """A system that may be hurt."""

    name: str
    apis: tuple[str, ...]
    api_key: str
    postgres_dsn: str
    temporal_address: str
    kafka_bootstrap_servers: str
    parts: tuple[Part, ...]

    def settings(self, settings: Settings) -> Settings:
        """The settings, with the servers of this system instead of those that the environment names."""
        servers: dict[str, Any] = {
            "postgres_url": self.postgres_dsn,
            "temporal_address": self.temporal_address,
            "kafka_bootstrap_servers": self.kafka_bootstrap_servers,
        }
        return type(settings)(**{**settings.model_dump(), **servers})


def embedded_system(settings: Settings) -> System:
    """The stack that ``casaflow up`` runs in ``$CASAFLOW_HOME``; its supervisor starts again what dies.

    Raises:
        InvalidInputError: one of its servers is not its own, and nobody said that it may be hurt.
        UnavailableError: it doesn't run.
    """
    home = settings.home
    info = control.read_stack_info(home)
    if info is None:
        raise UnavailableError(part="stack", detail=f"nothing runs in {home.absolute()}; start it with: casaflow up --detach")
    states = control.part_states(home)
    outside = next((state for state in states if state.health is Health.OUTSIDE), None)
    if outside is not None:
        rule = "is not the stack's own server: describe the system with --system, which says that it is a test system"
        raise InvalidInputError(field=outside.name, value=outside.address, rule=rule)
    kinds = {**{str(kind): kind for kind in Kind}, "consumers": Kind.CONSUMER}
    parts = tuple(
        Part(
            name=state.name,
            kind=kinds[kind_of(state.name)],
            find=_finder(home, state.name),
            groups=settings.consumer_groups if kind_of(state.name) == "consumers" else (),
        )
        for state in states
        # No money depends on a Web UI that is a process of its own.
        if kind_of(state.name) in kinds
    )
    return System(
        name=f"the stack in {StackHome(home).path}",
        apis=(info.api,),
        api_key=info.api_key,
        postgres_dsn=info.postgres_dsn,
        temporal_address=info.temporal_address,
        kafka_bootstrap_servers=info.kafka_bootstrap_servers,
        parts=parts,
    )


def _finder(home: Path, name: str) -> Callable[[], Process | None]:
    def find() -> Process | None:
        for state in control.part_states(home):
            if state.name == name and state.health is Health.HEALTHY and state.pid is not None and state.created is not None:
                return Process(state.pid, state.created)
        return None

    return find


async def run_command(arguments: tuple[str, ...], *, what: str) -> None:
    """Run a command of the description to its end.

    Raises:
        UnavailableError: it can't be run, failed, or did not end in time.
    """
    try:
        running = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise UnavailableError(part=what, detail=f"{arguments[0]} can't be run: {error}") from error
    try:
        async with asyncio.timeout(_COMMAND_SECONDS):
            code = await running.wait()
    except TimeoutError:
        raise UnavailableError(part=what, detail=f"{arguments[0]} did not end within {_COMMAND_SECONDS:.0f} s") from None
    if code != 0:
        raise UnavailableError(part=what, detail=f"{arguments[0]} ended with exit code {code}")
