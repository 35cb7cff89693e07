"""The parts of the stack: what each is called, how it is started, and how one knows that it is ready."""

from __future__ import annotations

import asyncio
import secrets
import sys
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from infra.kafka.connection import KafkaConnection, check_security, connection_of
from infra.kafka.topics import TopicPolicy, ensure_topics, topic_policy_of
from infra.postgres.api_keys import create_first_key, key_is_valid
from infra.postgres.migrate import upgrade
from infra.settings import absolute_files
from infra.stack import kafka, temporal
from infra.stack.answering import group_has, page_answers, worker_polls
from infra.stack.model import WORKER, StackError, TemporalStore, without_password, write_private
from infra.stack.part import Part, Stage
from infra.stack.ports import DEFAULT_PORTS, LOOPBACK, TEMPORAL_SERVICE_PORTS, choose
from infra.stack.postgres import EmbeddedPostgres
from infra.stack.processes import Command, in_thread
from infra.stack.temporal_build import ensure_built
from infra.stack.temporal_postgres import TemporalOnPostgres, wait_until_usable
from infra.temporal.client import connect
from infra.temporal.deployment import DEPLOYMENT, WorkerDeployment, installed_build_id
from infra.temporal.search_attributes import ensure_search_attributes
from ledger.commands import MIN_SECRET_BYTES
from ledger.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from infra.settings import Settings
    from infra.stack.model import StackHome
    from infra.stack.ports import PortReservations

_POLL_SECONDS: Final = 0.2
_PROMOTE_SECONDS: Final = 30.0
_NO_RELAY: Final = {"CASAFLOW_RELAY_AFTER_SECONDS": "0"}
"""The stack has one of its own, which doesn't share an interpreter with those who post."""
_DOWNSTREAM_NICENESS: Final = 5
"""On one machine, who posts goes before who publishes and reports afterwards: of what both want, these have a quarter."""


@dataclass(frozen=True)
class Outside:
    """A server that was configured from outside."""

    name: str
    address: str


@dataclass(frozen=True)
class Servers:
    """The three servers, ours or the user's, and what the other parts need to know of them."""

    settings: Settings
    home: StackHome
    ports: Mapping[str, int]
    postgres_dsn: str
    temporal_address: str
    temporal_ui: str | None
    kafka: KafkaConnection
    topic_policy: TopicPolicy
    command_secrets: str
    """As :attr:`infra.settings.Settings.command_secrets` takes them."""
    parts: list[Part] = field(default_factory=list)
    outside: list[Outside] = field(default_factory=list)

    @property
    def api_url(self) -> str:
        """Where the HTTP API is."""
        return f"http://{LOOPBACK}:{self.ports['api']}"

    @property
    def temporal_settings(self) -> Settings:
        """By which the stack itself talks to Temporal, ours or the user's."""
        return self.settings.model_copy(update={"temporal_address": self.temporal_address})

    @property
    def deployment(self) -> tuple[str, str]:
        """Name and build id of the workers' deployment. Fixed when the stack starts: a worker that is started again stays what it was."""
        return self.settings.worker_deployment or DEPLOYMENT, self.settings.worker_build_id or installed_build_id()

    @property
    def environment(self) -> dict[str, str]:
        """What configures worker, API and consumers: environment variables and nothing else."""
        given = self.settings.model_fields_set
        environment = {
            "CASAFLOW_HOME": str(self.home.path),
            "CASAFLOW_POSTGRES_URL": self.postgres_dsn,
            "CASAFLOW_TEMPORAL_ADDRESS": self.temporal_address,
            "CASAFLOW_KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "CASAFLOW_COMMAND_SECRETS": self.command_secrets,
            "CASAFLOW_API_HOST": LOOPBACK,
            "CASAFLOW_API_PORT": str(self.ports["api"]),
            "PYTHONSAFEPATH": "1",
            "PYTHONUNBUFFERED": "1",
            # All else they have from this process's own environment; but they run in another folder.
            **absolute_files(),
        }
        environment["CASAFLOW_WORKER_DEPLOYMENT"], environment["CASAFLOW_WORKER_BUILD_ID"] = self.deployment
        # Without a network there are only the rates that came with the wheel, and they age with it. Each leg records its rate's date.
        if "rates_source" not in given:
            environment["CASAFLOW_RATES_SOURCE"] = "ecb-history"
        if "rates_max_age_days" not in given:
            environment["CASAFLOW_RATES_MAX_AGE_DAYS"] = "3650"
        return environment

    @property
    def worker_metrics(self) -> str:
        """``host:port`` where the first worker shows its figures."""
        return f"{LOOPBACK}:{self.ports['worker-metrics']}"

    @property
    def consumer_metrics(self) -> str:
        """``host:port`` where the consumers show theirs."""
        return f"{LOOPBACK}:{self.ports['consumer-metrics']}"

    def python(
        self, log: str, *arguments: str, stop_seconds: float = 20.0, environment: Mapping[str, str] | None = None, niceness: int = 0
    ) -> Command:
        """A process of casaflow's own, with the environment of all of them and what is its own."""
        return Command(
            arguments=[sys.executable, "-m", *arguments],
            folder=self.home.path,
            log=self.home.log_file(log),
            environment={**self.environment, **(environment or {})},
            stop_seconds=stop_seconds,
            niceness=niceness,
        )

    def api_part(self) -> Part:
        """The HTTP API."""

        async def ready(_pid: int) -> None:
            while not await page_answers(f"{self.api_url}/readyz"):  # noqa: ASYNC110  a server tells nobody that it is ready
                await asyncio.sleep(_POLL_SECONDS)

        environment = {"CASAFLOW_STACK_CONTROLS": "true", **_NO_RELAY}
        if self.temporal_ui is not None:
            environment["CASAFLOW_TEMPORAL_UI"] = self.temporal_ui
        command = self.python("api", "worker", "api", stop_seconds=40.0, environment=environment)
        return Part(name="api", command=command, wait_until_ready=ready, address=self.api_url)


async def prepare_servers(settings: Settings, home: StackHome, reservations: PortReservations, say: Callable[[str], None]) -> Servers:
    """Choose ports, and prepare the servers that are ours.

    Raises:
        StackError: a server can't be prepared, or what the settings say about Kafka breaks a rule.
    """
    try:
        outside_kafka = _outside_kafka(settings)
        topic_policy = topic_policy_of(settings, embedded=outside_kafka is None)
    except InvalidInputError as error:
        raise StackError(str(error)) from error
    on_postgres = settings.temporal_address is None and home.temporal_store is TemporalStore.POSTGRES
    if on_postgres and settings.postgres_url is not None:
        message = f"the Temporal of {home.path} keeps its state on the embedded PostgreSQL, but CASAFLOW_POSTGRES_URL names another"
        raise StackError(message)
    preferred = {"api": settings.api_port} if "api_port" in settings.model_fields_set else {}
    ports = choose(home.ports_file, preferred, reservations, DEFAULT_PORTS | (TEMPORAL_SERVICE_PORTS if on_postgres else {}))
    parts: list[Part] = []
    outside: list[Outside] = []
    postgres = EmbeddedPostgres(home) if settings.postgres_url is None else None
    broker = kafka.EmbeddedKafka(home) if outside_kafka is None else None
    await asyncio.gather(
        in_thread(partial(ensure_built, say) if on_postgres else _nothing),
        in_thread(postgres.prepare if postgres else _nothing),
        in_thread(partial(broker.prepare, ports, say) if broker else _nothing),
    )
    if settings.postgres_url is not None:
        dsn = settings.postgres_url.get_secret_value()
        outside.append(Outside("postgres", without_password(dsn)))
    elif postgres is not None:
        dsn = postgres.dsn(ports["postgres"])
        parts.append(_postgres_part(postgres, ports["postgres"], dsn))
    temporal_ui = None
    if settings.temporal_address is not None:
        temporal_address = settings.temporal_address
        outside.append(Outside("temporal", temporal_address))
    else:
        temporal_address, temporal_ui = f"{LOOPBACK}:{ports['temporal']}", f"http://{LOOPBACK}:{ports['temporal-ui']}"
        ours = settings.model_copy(update={"temporal_address": temporal_address})
        if on_postgres:
            parts += _temporal_on_postgres(TemporalOnPostgres(home, ports, dsn), ours, temporal_ui)
        else:
            parts.append(_temporal_part(home, ports, ours, temporal_ui))
    if outside_kafka is not None:
        outside.append(Outside("kafka", outside_kafka.bootstrap_servers))
    elif broker is not None:
        parts.append(_kafka_part(broker, f"{LOOPBACK}:{ports['kafka']}"))
    return Servers(
        settings,
        home,
        ports,
        dsn,
        temporal_address,
        temporal_ui,
        kafka=outside_kafka or KafkaConnection(f"{LOOPBACK}:{ports['kafka']}"),
        topic_policy=topic_policy,
        command_secrets=_command_secrets(settings, home),
        parts=parts,
        outside=outside,
    )


def _outside_kafka(settings: Settings) -> KafkaConnection | None:
    """How the user's Kafka is reached; None: it is ours, which speaks to this machine only, and in the clear."""
    if settings.kafka_bootstrap_servers is not None:
        return connection_of(settings)
    check_security(settings)
    if settings.kafka_security_protocol != "PLAINTEXT":
        rule = "must be PLAINTEXT unless CASAFLOW_KAFKA_BOOTSTRAP_SERVERS is set: the embedded broker speaks nothing else"
        raise InvalidInputError(field="CASAFLOW_KAFKA_SECURITY_PROTOCOL", value=settings.kafka_security_protocol, rule=rule)
    return None


def _nothing() -> None:
    """Prepare nothing: the server is the user's."""


def _postgres_part(server: EmbeddedPostgres, port: int, dsn: str) -> Part:
    async def ready(_pid: int) -> None:
        await server.wait_until_ready(port)

    return Part(name="postgres", command=server.command(port), wait_until_ready=ready, address=without_password(dsn), stage=Stage.SERVER)


def _temporal_part(home: StackHome, ports: Mapping[str, int], settings: Settings, ui: str) -> Part:
    async def ready(_pid: int) -> None:
        await temporal.wait_until_ready(settings, ui)

    command, address = temporal.command(home, ports, namespace=settings.temporal_namespace), f"{settings.temporal_address}, Web UI {ui}"
    return Part(name="temporal", command=command, wait_until_ready=ready, address=address, stage=Stage.SERVER)


def _temporal_on_postgres(server: TemporalOnPostgres, settings: Settings, ui: str) -> list[Part]:
    server.write_configuration()

    async def ready(_pid: int) -> None:
        await wait_until_usable(settings)

    async def ui_ready(_pid: int) -> None:
        await temporal.wait_until_served(ui)

    address, stage = settings.temporal_address or "", Stage.ON_A_SERVER
    return [
        Part("temporal", server.command(), ready, address=address, stage=stage, before_start=server.ensure_databases),
        Part("temporal-ui", server.ui_command(), ui_ready, address=ui, stage=stage),
    ]


def _kafka_part(broker: kafka.EmbeddedKafka, bootstrap_servers: str) -> Part:
    async def ready(pid: int) -> None:
        await kafka.wait_until_ready(pid, bootstrap_servers)

    return Part(name="kafka", command=broker.command(), wait_until_ready=ready, address=bootstrap_servers, stage=Stage.SERVER)


async def provision(home: StackHome, servers: Servers, say: Callable[[str], None]) -> str:
    """Bring database, topics and search attributes to what casaflow needs; returns the API key.

    Raises:
        UnavailableError: a server did not answer.
    """
    await asyncio.gather(
        asyncio.to_thread(upgrade, servers.postgres_dsn),
        ensure_topics(servers.kafka, servers.topic_policy),
        ensure_search_attributes(servers.temporal_settings),
    )
    say("migrations, topics and search attributes are in place")
    return await asyncio.to_thread(_api_key, home, servers.postgres_dsn)


def _api_key(home: StackHome, dsn: str) -> str:
    """The key that the first start made; a new one where the database doesn't know it."""
    if home.key_file.exists():
        key = home.key_file.read_text(encoding="ascii").strip()
        if key_is_valid(dsn, key):
            return key
    key = create_first_key(dsn)
    write_private(home.key_file, key + "\n")
    return key


def _command_secrets(settings: Settings, home: StackHome) -> str:
    """Those of the user, or the one that the first start made."""
    if settings.command_secrets is not None:
        return settings.command_secrets.get_secret_value()
    if not home.command_secret_file.exists():
        write_private(home.command_secret_file, secrets.token_urlsafe(MIN_SECRET_BYTES) + "\n")
    return home.command_secret_file.read_text(encoding="ascii").strip()


async def promote_workers(servers: Servers, say: Callable[[str], None]) -> None:
    """Make the version of the workers the current one, and move what versions before it have left: of those no worker runs any more.

    Raises:
        UnavailableError: Temporal did not answer, or takes no such version.
    """
    name, build_id = servers.deployment
    deployment = WorkerDeployment(await connect(servers.temporal_settings), name, servers.settings.task_queue)
    before = await deployment.current()
    await deployment.set_current(build_id, within_seconds=_PROMOTE_SECONDS)
    # A Temporal that is the user's may have other workers, which still serve their own runs.
    ours = servers.settings.temporal_address is None
    moves = await deployment.move_left(also_served=ours)
    if before not in {None, build_id}:
        say(f"workers are now of version {build_id}; before they were of {before}")
    for run in moves.moved:
        say(f"{run.workflow_id} was left by version {run.build_id}, and goes on with this one")
    for left, count in moves.served.items():
        say(f"{count} runs stay with version {left}, whose workers still poll")


def worker_parts(servers: Servers) -> list[Part]:
    """The workers; each is ready once Temporal has seen it poll."""

    async def ready(pid: int) -> None:
        while not await worker_polls(servers.temporal_settings, [pid]):  # noqa: ASYNC110  a worker tells nobody that it is ready
            await asyncio.sleep(_POLL_SECONDS)

    count = servers.settings.workers
    names = [WORKER] if count == 1 else [f"{WORKER} {number}" for number in range(1, count + 1)]
    queue = servers.settings.task_queue
    return [
        Part(
            name=name,
            command=servers.python(
                name.replace(" ", "-"),
                "worker",
                stop_seconds=30.0,
                environment={"CASAFLOW_METRICS_ADDRESS": servers.worker_metrics if number == 0 else f"{LOOPBACK}:0", **_NO_RELAY},
            ),
            wait_until_ready=ready,
            address=f"task queue {queue}",
        )
        for number, name in enumerate(names)
    ]


def downstream_parts(servers: Servers) -> list[Part]:
    """What comes after the posting: the relay and the consumers, where the settings want them.

    All groups are in one process, since on one machine their interpreters would cost more than their work. The consumers are ready once
    each group has shared its partitions out, with this process as a member. For the relay nobody waits: it takes care of what is late.
    """
    parts: list[Part] = []
    if servers.settings.relay_after_seconds:
        relay = servers.python("relay", "infra.relay", niceness=_DOWNSTREAM_NICENESS)
        waiting = f"events that wait for {servers.settings.relay_after_seconds:g} s"
        parts.append(Part(name="relay", command=relay, wait_until_ready=_at_once, address=waiting))
    groups = servers.settings.consumer_groups
    if not groups:
        return parts

    async def ready(pid: int) -> None:
        for group in groups:
            while not await group_has(servers.kafka, group, [pid]):  # noqa: ASYNC110  a group tells nobody that it is ready
                await asyncio.sleep(_POLL_SECONDS)

    figures = {"CASAFLOW_METRICS_ADDRESS": servers.consumer_metrics}
    command = servers.python("consumers", "consumers", *groups, environment=figures, niceness=_DOWNSTREAM_NICENESS)
    parts.append(Part(name="consumers", command=command, wait_until_ready=ready, address=f"groups {', '.join(groups)}"))
    return parts


async def _at_once(_pid: int) -> None:
    """Nothing waits for this part."""
