"""A cluster on loopback: three brokers, PostgreSQL with a synchronous standby, Temporal on it, two of each of casaflow's processes."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from infra.kafka.connection import KafkaConnection
from infra.postgres.api_keys import create_first_key
from infra.settings import ALL_GROUPS, Settings
from infra.stack.kafka import EmbeddedKafka, KafkaNode, new_cluster_id
from infra.stack.model import StackHome, write_private
from infra.stack.ports import LOOPBACK, TEMPORAL_SERVICE_PORTS, PortReservations
from infra.stack.postgres import DATABASE, EmbeddedPostgres
from infra.stack.processes import Command
from infra.stack.temporal_build import ensure_built
from infra.stack.temporal_postgres import TemporalOnPostgres, wait_until_usable
from tests.cluster import whole
from tests.cluster.namespace import Namespace, namespace, why_not

_SCRIPT: Final = Path(__file__).with_name("part.py")
_BROKER_MEGABYTES: Final = 400
_WHOLE_SECONDS: Final = 300.0
"""How long it may take until a part that was started again does its work, and all others with it."""
_APART: Final = 2
"""Which of the two workers runs in a network namespace of its own."""
_STANDBY_OPTIONS: Final = ("-c", "wal_keep_size=1GB", "-c", "max_connections=400")
"""Of both servers: what a standby that was away for a while still finds, and room for Temporal beside casaflow."""


@dataclass(frozen=True)
class Part:
    """One process of the cluster, with those that it keeps."""

    name: str
    kind: str
    """As `casaflow chaos` reads it: kafka, postgres, standby, temporal, api, worker or consumer."""
    specification: Path
    pid_file: Path

    @property
    def start(self) -> list[str]:
        return [sys.executable, str(_SCRIPT), "start", str(self.specification)]

    @property
    def promote(self) -> list[str] | None:
        return [sys.executable, str(_SCRIPT), "promote", str(self.specification)] if self.kind in {"postgres", "standby"} else None


@dataclass
class Cluster:
    """Where everything is, and how its parts are killed and started."""

    folder: Path
    ports: dict[str, int]
    postgres_dsn: str = ""
    api_key: str = ""
    parts: dict[str, Part] = field(default_factory=dict)
    apart: Namespace | None = None
    """The network namespace that worker-2 runs in; None where none can be made."""

    @property
    def apis(self) -> list[str]:
        return [f"http://{LOOPBACK}:{self.ports[name]}" for name in ("api-1", "api-2")]

    @property
    def description(self) -> Path:
        """What `casaflow chaos` reads."""
        return self.folder / "cluster.json"

    @property
    def temporal_address(self) -> str:
        return f"{LOOPBACK}:{self.ports['temporal']}"

    @property
    def kafka(self) -> KafkaConnection:
        return KafkaConnection(",".join(f"{LOOPBACK}:{self.ports[f'kafka-{number}']}" for number in (1, 2, 3)))

    @property
    def settings(self) -> Settings:
        return Settings(temporal_address=self.temporal_address, home=self.folder)

    @property
    def environment(self) -> dict[str, str]:
        """What configures each of casaflow's processes, and the command line."""
        return {
            "CASAFLOW_HOME": str(self.folder),
            "CASAFLOW_POSTGRES_URL": self.postgres_dsn,
            "CASAFLOW_TEMPORAL_ADDRESS": self.temporal_address,
            "CASAFLOW_KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "CASAFLOW_COMMAND_SECRETS": (self.folder / "command_secret").read_text().strip(),
            "CASAFLOW_RATES_SOURCE": "ecb-history",
            "CASAFLOW_RATES_MAX_AGE_DAYS": "3650",
            "PYTHONUNBUFFERED": "1",
        }

    def add(self, name: str, kind: str, command: Command, **more: Any) -> Part:
        """Write down how a part is started."""
        part = Part(name, kind, self.folder / "parts" / f"{name}.json", self.folder / "pids" / f"{name}.pid")
        owner = command.owner
        content = {
            "name": name,
            "arguments": command.arguments,
            "folder": str(command.folder),
            "log": str(self.folder / "logs" / f"{name}.log"),
            "environment": dict(command.environment),
            "uid": owner.uid if owner else None,
            "gid": owner.gid if owner else None,
            "pid_file": str(part.pid_file),
            "description": str(self.description),
            **more,
        }
        write_private(part.specification, json.dumps(content, indent=1))
        self.parts[name] = part
        return part

    def add_casaflow(self, name: str, kind: str, *arguments: str, before: tuple[str, ...] = (), **environment: str) -> Part:
        """One of casaflow's own processes; `before` is what runs it."""
        program = str(Path(sys.executable).with_name("casaflow"))
        command = Command([*before, program, *arguments], self.folder, Path(), environment={**self.environment, **environment})
        return self.add(name, kind, command)

    def start(self, name: str) -> None:
        """Start a part, and return once it is there."""
        done = subprocess.run(self.parts[name].start, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, f"{name} did not start: {done.stdout}{done.stderr}\n{self.log(name)}"

    def promote(self, name: str) -> None:
        """Make a standby the primary."""
        command = self.parts[name].promote
        assert command is not None
        subprocess.run(command, stdin=subprocess.DEVNULL, timeout=120, check=True)

    def kill(self, name: str) -> None:
        """As a machine that fails ends a part, with all that it keeps."""
        process = self.process(name)
        assert process is not None, f"{name} does not run: {self.log(name)}"
        family = [process, *process.children(recursive=True)]
        for one in family:
            try:
                one.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(family, timeout=30)

    def process(self, name: str) -> psutil.Process | None:
        try:
            process = psutil.Process(int(self.parts[name].pid_file.read_text()))
        except (FileNotFoundError, psutil.NoSuchProcess):
            return None
        return None if process.status() == psutil.STATUS_ZOMBIE else process

    def log(self, name: str) -> str:
        path = self.folder / "logs" / f"{name}.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-20:]) if path.exists() else ""

    def primary(self) -> str:
        """The name of the PostgreSQL that may be written to, as the description has it."""
        content = json.loads(self.description.read_text())
        (name,) = (part["name"] for part in content["parts"] if part["kind"] == "postgres")
        return str(name)

    def casaflow(self, *arguments: str, seconds: float = 300) -> subprocess.CompletedProcess[str]:
        """Run a command of casaflow's to its end."""
        program = str(Path(sys.executable).with_name("casaflow"))
        environment = {**os.environ, **self.environment, "CASAFLOW_API_URL": self.apis[0], "CASAFLOW_API_KEY": self.api_key}
        return subprocess.run(
            [program, *arguments],
            env=environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def describe(self) -> None:
        """Write what `casaflow chaos` reads."""
        parts = [
            {"name": part.name, "kind": part.kind, "pid_file": str(part.pid_file), "start": part.start, "promote": part.promote}
            for part in self.parts.values()
        ]
        content = {
            "test_system": True,
            "name": self.folder.name,
            "apis": self.apis,
            "api_key": self.api_key,
            "postgres_dsn": self.postgres_dsn,
            "temporal_address": self.temporal_address,
            "kafka_bootstrap_servers": self.kafka.bootstrap_servers,
            "parts": parts,
        }
        write_private(self.description, json.dumps(content, indent=1) + "\n")

    async def until_whole(self) -> None:
        """Return once each part does its work, and the copies of everything are in step."""
        deadline = time.monotonic() + _WHOLE_SECONDS
        while missing := await whole.missing(self):
            assert time.monotonic() < deadline, f"not whole after {_WHOLE_SECONDS:.0f} s: {missing}"
            await asyncio.sleep(0.2)


@contextmanager
def running_cluster(say: Callable[[str], None]) -> Iterator[Cluster]:
    """Start a cluster in a folder of its own, and leave nothing of it behind; ``CASAFLOW_CLUSTER_KEEP=1`` leaves the logs."""
    folder = Path(tempfile.mkdtemp(prefix="casaflow-cluster-"))
    folder.chmod(0o755)  # as root PostgreSQL runs as a user of its own, who must be able to come in
    with PortReservations() as reservations, ExitStack() as network:
        names = [*(f"{kind}-{number}" for kind in ("kafka", "kafka-controller") for number in (1, 2, 3))]
        names += ["postgres-1", "postgres-2", "api-1", "api-2", "temporal", "temporal-ui", "temporal-http", "temporal-metrics"]
        cluster = Cluster(folder, {name: reservations.take_any() for name in (*names, *TEMPORAL_SERVICE_PORTS)})
        try:
            _start_servers(cluster, say)
            reason = why_not()
            if reason is None:
                servers = [port for name, port in cluster.ports.items() if name.startswith(("kafka-", "postgres-")) or name == "temporal"]
                cluster.apart = network.enter_context(namespace(servers))
            else:
                say(f"no cut of the network: {reason}")
            _start_processes(cluster, say)
            yield cluster
        finally:
            _stop(cluster)
            if not os.environ.get("CASAFLOW_CLUSTER_KEEP"):
                shutil.rmtree(folder)


def _start_servers(cluster: Cluster, say: Callable[[str], None]) -> None:
    for name in ("parts", "pids", "logs"):
        (cluster.folder / name).mkdir(mode=0o700)
    write_private(cluster.folder / "command_secret", secrets.token_urlsafe(48))
    ensure_built(say)
    _add_brokers(cluster, say)
    _add_postgres(cluster)
    cluster.describe()
    for name in tuple(cluster.parts):
        say(f"starting {name}")
        cluster.start(name)
    server = EmbeddedPostgres(StackHome(cluster.folder / "postgres-1"))
    asyncio.run(server.wait_until_ready(cluster.ports["postgres-1"]))  # it makes the database
    temporal = TemporalOnPostgres(StackHome(cluster.folder), cluster.ports, cluster.postgres_dsn)
    asyncio.run(temporal.ensure_databases())
    temporal.write_configuration()
    cluster.add("temporal", "temporal", temporal.command())
    cluster.start("temporal")
    asyncio.run(asyncio.wait_for(wait_until_usable(cluster.settings), 120))
    say("bringing database, topics and search attributes to this version")
    migrated = cluster.casaflow("migrate")
    assert migrated.returncode == 0, migrated.stderr
    cluster.api_key = create_first_key(cluster.postgres_dsn)


def _start_processes(cluster: Cluster, say: Callable[[str], None]) -> None:
    for number in (1, 2):
        before = cluster.apart.before if cluster.apart is not None and number == _APART else ()
        cluster.add_casaflow(f"worker-{number}", "worker", "worker", "--processes", "2", before=before)
        cluster.add_casaflow(f"api-{number}", "api", "api", CASAFLOW_API_PORT=str(cluster.ports[f"api-{number}"]))
        cluster.add_casaflow(f"consumer-{number}", "consumer", "consumer", *ALL_GROUPS)
    cluster.describe()
    for name in [name for name, part in cluster.parts.items() if part.kind in {"worker", "api", "consumer"}]:
        say(f"starting {name}")
        cluster.start(name)


def _add_brokers(cluster: Cluster, say: Callable[[str], None]) -> None:
    nodes = [KafkaNode(number, cluster.ports[f"kafka-{number}"], cluster.ports[f"kafka-controller-{number}"]) for number in (1, 2, 3)]
    cluster_id = new_cluster_id()
    for node in nodes:
        home = StackHome(cluster.folder / f"kafka-{node.number}")
        home.path.mkdir()
        broker = EmbeddedKafka(home, most_megabytes=_BROKER_MEGABYTES)
        broker.prepare_node(node, nodes, cluster_id, say)
        cluster.add(f"kafka-{node.number}", "kafka", broker.command())


def _add_postgres(cluster: Cluster) -> None:
    homes = [StackHome(cluster.folder / f"postgres-{number}") for number in (1, 2)]
    servers = [EmbeddedPostgres(home) for home in homes]
    for home in homes:
        home.path.mkdir()
    servers[0].prepare()
    # A copy has the original's passwords.
    (homes[1].path / "postgres").mkdir()
    write_private(homes[1].path / "postgres" / "password", (homes[0].path / "postgres" / "password").read_text())
    dsns = [server.dsn(cluster.ports[f"postgres-{number}"], "postgres") for number, server in enumerate(servers, 1)]
    for number, server in enumerate(servers, 1):
        command = server.command(cluster.ports[f"postgres-{number}"])
        owner = command.owner
        postgres = {
            "data": str(server._data_folder()),
            "programs": str(server._binaries()),
            "dsn": dsns[number - 1],
            "peer": dsns[2 - number],
            "uid": owner.uid if owner else None,
            "gid": owner.gid if owner else None,
        }
        altered = Command([*command.arguments, *_STANDBY_OPTIONS], command.folder, command.log, owner=owner)
        cluster.add(f"postgres-{number}", "postgres" if number == 1 else "standby", altered, postgres=postgres)
    credentials = dsns[0].rpartition("@")[0]
    hosts = ",".join(f"{LOOPBACK}:{cluster.ports[f'postgres-{number}']}" for number in (1, 2))
    cluster.postgres_dsn = f"{credentials}@{hosts}/{DATABASE}?target_session_attrs=read-write"


def _stop(cluster: Cluster) -> None:
    """End everything, whatever state it is in: nobody wants the data."""
    for name in reversed(cluster.parts):
        if cluster.process(name) is not None:
            cluster.kill(name)
