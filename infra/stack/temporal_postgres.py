"""Temporal's server as clusters run it, with its state in two databases on PostgreSQL and a Web UI of its own.

See ``docs/decisions/0038-cluster.md``.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import psycopg
from google.protobuf.duration_pb2 import Duration
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, RegisterNamespaceRequest
from temporalio.service import RPCError, RPCStatusCode

from infra.stack.model import SERVER_CONFIGURATION, StackError, write_private
from infra.stack.ports import LOOPBACK
from infra.stack.processes import Command, run_to_its_end
from infra.stack.temporal_build import SERVER, SQL_TOOL, UI_SERVER, programs_folder
from infra.temporal.client import connect
from ledger.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from infra.settings import Settings
    from infra.stack.model import StackHome

HISTORY_SHARDS: Final = 8
"""Chosen once for a database: Temporal refuses to start with another number."""
STATE: Final = "temporal"
VISIBILITY: Final = "temporal_visibility"
_PLUGIN: Final = "postgres12_pgx"
"""The driver that knows several hosts and which of them may be written to; its schema is that of PostgreSQL 12 and newer."""
_STATE_CONNECTIONS: Final = 20
"""Of each of the four services, at most."""
_VISIBILITY_CONNECTIONS: Final = 5
_RETENTION: Final = Duration(seconds=24 * 3600)
"""How long histories of closed workflows stay, as in the development server."""
_DYNAMIC_CONFIGURATION: Final = {
    # As the development server: histories in memory, whose default is sized for a machine of its own, and calls that list workflows.
    "history.hostLevelCacheMaxSize": 8096,
    "frontend.namespaceRPS.visibility": 100,
}
_CONFIGURATION_POLL: Final = "60s"
_POLL_SECONDS: Final = 0.2
_SCHEMA_SET_UP: Final = "SELECT to_regclass('schema_version') IS NOT NULL"


@dataclass(frozen=True)
class TemporalOnPostgres:
    """The server of one home."""

    home: StackHome
    ports: Mapping[str, int]
    postgres_dsn: str
    """libpq URL of any database there, of a role that may make databases; of several hosts the one that can be written to is used."""

    @property
    def _folder(self) -> Path:
        return self.home.private_folder("temporal")

    def write_configuration(self) -> None:
        """Write what server and Web UI are told. Its database password makes the server's readable by its owner only."""
        folder = self._folder
        write_private(folder / "dynamic.yaml", _as_yaml({name: [{"value": value}] for name, value in _DYNAMIC_CONFIGURATION.items()}))
        write_private(folder / SERVER_CONFIGURATION, _as_yaml(server_configuration(self.ports, self.postgres_dsn)))
        ui = self.home.private_folder("temporal-ui")
        write_private(ui / "base.yaml", _as_yaml(ui_configuration(self.ports)))

    def command(self) -> Command:
        """How the server is started: all four services in one process."""
        arguments = [str(programs_folder() / SERVER), "--config-file", SERVER_CONFIGURATION, "--allow-no-auth", "start"]
        return Command(arguments=arguments, folder=self._folder, log=self.home.log_file("temporal"))

    def ui_command(self) -> Command:
        """How the Web UI is started."""
        folder = self.home.private_folder("temporal-ui")
        arguments = [str(programs_folder() / UI_SERVER), "--root", ".", "--config", ".", "--env", "base", "start"]
        return Command(arguments=arguments, folder=folder, log=self.home.log_file("temporal-ui"))

    async def ensure_databases(self) -> None:
        """Wait for PostgreSQL, and bring both databases to the schema of this server. Safe to repeat.

        Raises:
            StackError: Temporal's tool could not, or PostgreSQL went away meanwhile.
        """
        for database, schema in ((STATE, "temporal"), (VISIBILITY, "visibility")):
            try:
                await self._ensure_database(database)
                if not await self._is_set_up(database):
                    await asyncio.to_thread(self._sql_tool, database, "setup-schema", "--version", "0.0")
                await asyncio.to_thread(self._sql_tool, database, "update-schema", "--schema-name", f"postgresql/v12/{schema}")
            except psycopg.Error as error:
                message = f"Temporal's database {database} can't be prepared: {str(error).strip().splitlines()[0]}"
                raise StackError(message) from error

    async def _ensure_database(self, name: str) -> None:
        async with await self._connection("postgres") as connection:
            found = await connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
            if await found.fetchone() is None:
                await connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    async def _is_set_up(self, database: str) -> bool:
        async with await self._connection(database) as connection:
            row = await (await connection.execute(_SCHEMA_SET_UP)).fetchone()
            return row is not None and bool(row[0])

    async def _connection(self, database: str) -> psycopg.AsyncConnection[Any]:
        while True:
            try:
                return await psycopg.AsyncConnection.connect(self.postgres_dsn, dbname=database, autocommit=True, connect_timeout=2)
            except psycopg.OperationalError:
                await asyncio.sleep(_POLL_SECONDS)

    def _sql_tool(self, database: str, *arguments: str) -> None:
        with psycopg.connect(self.postgres_dsn, dbname=database) as connection:
            place = connection.info
            where = ["--endpoint", place.host, "--port", str(place.port), "--user", place.user, "--database", database]
            password = place.password
        command = [str(programs_folder() / SQL_TOOL), "--plugin", _PLUGIN, *where, *arguments]
        # In the environment, since every user of the machine sees a process's arguments.
        done = run_to_its_end(command, folder=self._folder, environment={"SQL_PASSWORD": password})
        if done.returncode != 0:
            message = f"{arguments[0]} of Temporal's database {database} failed:\n{done.stdout}{done.stderr}"
            raise StackError(message)


def server_configuration(ports: Mapping[str, int], postgres_dsn: str) -> dict[str, Any]:
    """What the server is told.

    Args:
        ports: of the stack, those of Temporal's services included.
        postgres_dsn: libpq URL, of several hosts where there are several.
    """
    return {
        "log": {"stdout": True, "level": "warn", "format": "json"},
        "persistence": {
            "numHistoryShards": HISTORY_SHARDS,
            "defaultStore": STATE,
            "visibilityStore": VISIBILITY,
            "datastores": {
                STATE: {"sql": _database(postgres_dsn, STATE, _STATE_CONNECTIONS)},
                VISIBILITY: {"sql": _database(postgres_dsn, VISIBILITY, _VISIBILITY_CONNECTIONS)},
            },
        },
        "global": {
            "membership": {"maxJoinDuration": "30s", "broadcastAddress": LOOPBACK},
            "metrics": {"prometheus": {"listenAddress": f"{LOOPBACK}:{ports['temporal-metrics']}", "handlerPath": "/metrics"}},
        },
        "services": {
            "frontend": _service(ports["temporal"], ports["temporal-frontend-membership"], httpPort=ports["temporal-http"]),
            "history": _service(ports["temporal-history"], ports["temporal-history-membership"]),
            "matching": _service(ports["temporal-matching"], ports["temporal-matching-membership"]),
            "worker": _service(ports["temporal-worker"], ports["temporal-worker-membership"]),
        },
        "clusterMetadata": {
            "enableGlobalNamespace": False,
            "failoverVersionIncrement": 10,
            "masterClusterName": "active",
            "currentClusterName": "active",
            "clusterInformation": {
                "active": {
                    "enabled": True,
                    "initialFailoverVersion": 1,
                    "rpcName": "frontend",
                    "rpcAddress": f"{LOOPBACK}:{ports['temporal']}",
                    "httpAddress": f"{LOOPBACK}:{ports['temporal-http']}",
                }
            },
        },
        "dcRedirectionPolicy": {"policy": "noop"},
        "publicClient": {"hostPort": f"{LOOPBACK}:{ports['temporal']}"},
        "archival": {"history": {"state": "disabled"}, "visibility": {"state": "disabled"}},
        "namespaceDefaults": {"archival": {"history": {"state": "disabled"}, "visibility": {"state": "disabled"}}},
        "dynamicConfigClient": {"filepath": "dynamic.yaml", "pollInterval": _CONFIGURATION_POLL},
    }


def ui_configuration(ports: Mapping[str, int]) -> dict[str, Any]:
    """What the Web UI is told; as the development server's, but that it fetches no news."""
    return {
        "temporalGrpcAddress": f"{LOOPBACK}:{ports['temporal']}",
        "host": LOOPBACK,
        "port": ports["temporal-ui"],
        "enableUi": True,
        "cors": {"cookieInsecure": True},
        "hideLogs": True,
        "disableNewsFetch": True,
    }


def _database(dsn: str, name: str, connections: int) -> dict[str, Any]:
    place = conninfo_to_dict(dsn)
    hosts, ports = str(place["host"]).split(","), str(place["port"]).split(",")
    attributes = {name: str(place[name]) for name in ("target_session_attrs",) if name in place}
    return {
        "pluginName": _PLUGIN,
        "databaseName": name,
        "connectAddr": ",".join(f"{host}:{port}" for host, port in zip(hosts, ports, strict=True)),
        "connectProtocol": "tcp",
        "user": place["user"],
        "password": place["password"],
        # The server would wait for ever for a host that answers nothing.
        "connectAttributes": {**attributes, "connect_timeout": "2"},
        "maxConns": connections,
        "maxIdleConns": connections,
        "maxConnLifetime": "1h",
    }


def _service(grpc: int, membership: int, **others: int) -> dict[str, Any]:
    return {"rpc": {"grpcPort": grpc, "membershipPort": membership, "bindOnIP": LOOPBACK, **others}}


def _as_yaml(content: Mapping[str, Any]) -> str:
    """JSON, which YAML includes."""
    return json.dumps(content, indent=1) + "\n"


async def wait_until_usable(settings: Settings) -> None:
    """Return once the namespace is there, which is made if it is missing, and can be used."""
    while not await _is_usable(settings):  # noqa: ASYNC110  a server tells nobody that it is ready
        await asyncio.sleep(_POLL_SECONDS)


async def _is_usable(settings: Settings) -> bool:
    namespace = settings.temporal_namespace
    try:
        client = await connect(settings)
        service = client.workflow_service
        try:
            await service.describe_namespace(DescribeNamespaceRequest(namespace=namespace))
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            await service.register_namespace(RegisterNamespaceRequest(namespace=namespace, workflow_execution_retention_period=_RETENTION))
        # The services learn of a new namespace one after another.
        await client.count_workflows()
    except (UnavailableError, RPCError):
        return False
    return True
