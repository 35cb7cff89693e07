"""What the stack says of itself: ``stack.json`` for everyone, and the supervisor's own state beside it."""

from __future__ import annotations

import json
import os
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infra.settings import HOME_KEYS_FILE

Model = TypeVar("Model", bound=BaseModel)


WORKER: Final = "worker"
"""Name of the part that is a worker process; of several, each has its number behind it."""


def kind_of(part: str) -> str:
    """What a part is by its name: ``worker 2`` is a ``worker``."""
    return part.partition(" ")[0]


SQLITE_FILE: Final = "temporal.db"
"""In the home's folder ``temporal``: all state of the Temporal that keeps it in a file."""
SERVER_CONFIGURATION: Final = "server.yaml"
"""In the same folder: what the Temporal on PostgreSQL is told, written before its first start."""


class TemporalStore(StrEnum):
    """Where the embedded Temporal keeps its state."""

    SQLITE = "sqlite"
    """A file, by the development server of Temporal's command line: nothing to build, and one history shard."""
    POSTGRES = "postgres"
    """Two databases on the embedded PostgreSQL, by the server that clusters run."""


class StackError(Exception):
    """The stack can't be started, or a part of it can't be used; the message says what, and shows the end of its log."""


class Pids(BaseModel):
    """Processes of the stack; a part that was configured from outside has none."""

    api: int | None = None
    worker: list[int] = Field(default_factory=list)
    """Every process that hosts a worker."""
    postgres: int | None = None
    temporal: int | None = None
    temporal_ui: int | None = Field(default=None, exclude_if=lambda pid: pid is None)
    """Of a Web UI that is a process of its own; on SQLite it is Temporal's, and this is left out."""
    kafka: int | None = None
    consumers: dict[str, int] = Field(default_factory=dict)
    relay: int | None = None


class StackInfo(BaseModel):
    """The content of ``stack.json``: where everything is. Holds secrets, so the file is readable by its owner only."""

    api: str
    api_key: str
    temporal_address: str
    temporal_ui: str | None
    """None when Temporal was configured from outside: where its UI is, only its operator knows."""
    postgres_dsn: str
    kafka_bootstrap_servers: str
    metrics: dict[str, str] = Field(default_factory=dict)
    """Where each kind of process shows its figures: ``api`` and ``worker``, of several workers the first."""
    pids: Pids


class Health(StrEnum):
    """How a part is."""

    WAITING = "waiting"
    STARTING = "starting"
    HEALTHY = "healthy"
    RESTARTING = "restarting"
    FAILED = "failed"
    STOPPED = "stopped"
    OUTSIDE = "outside"
    """Configured from outside: not ours to start or stop."""


class PartState(BaseModel):
    """One part as the supervisor sees it."""

    model_config = ConfigDict(extra="forbid")

    name: str
    health: Health = Health.WAITING
    address: str = ""
    pid: int | None = None
    created: str | None = None
    """See :func:`infra.stack.processes.created`: by it a reused pid is told apart."""
    restarts: int = 0
    detail: str = ""


class SupervisorState(BaseModel):
    """The content of ``supervisor.json``."""

    pid: int
    created: str
    ready: bool = False
    failure: str = ""
    parts: list[PartState] = Field(default_factory=list)


def cache_folder() -> Path:
    """What all stacks of this user share."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "casaflow"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class StackHome:
    """Paths inside ``$CASAFLOW_HOME``."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path.expanduser().absolute()

    @property
    def stack_file(self) -> Path:
        """``stack.json``: there while the stack runs."""
        return self.path / "stack.json"

    @property
    def state_file(self) -> Path:
        """``supervisor.json``: pids and health of all parts."""
        return self.path / "supervisor.json"

    @property
    def lock_file(self) -> Path:
        """Locked by the supervisor for as long as it lives."""
        return self.path / "supervisor.lock"

    @property
    def key_file(self) -> Path:
        """The API key that the first ``up`` made."""
        return self.path / "api_key"

    @property
    def command_secret_file(self) -> Path:
        """With what the API signs operators' commands; made by the first ``up``."""
        return self.path / "command_secret"

    @property
    def payload_keys_file(self) -> Path:
        """What encrypts Temporal's payloads, where ``up --encrypt`` has chosen that; it stays chosen."""
        return self.path / HOME_KEYS_FILE

    @property
    def temporal_store_file(self) -> Path:
        """Where Temporal keeps its state, as ``up --temporal`` has chosen it; it stays chosen."""
        return self.path / "temporal_store"

    @property
    def temporal_store(self) -> TemporalStore:
        """Where this home's Temporal keeps its state.

        Raises:
            StackError: a version of casaflow that knows more places has chosen one of those.
        """
        try:
            return TemporalStore(self.temporal_store_file.read_text(encoding="ascii").strip())
        except FileNotFoundError:
            return TemporalStore.SQLITE
        except ValueError as error:
            message = f"{self.temporal_store_file} names no place that this version of casaflow knows: {error}"
            raise StackError(message) from None

    @property
    def has_temporal_state(self) -> bool:
        """Whether an embedded Temporal has been started here."""
        return any((self.path / "temporal" / name).exists() for name in (SQLITE_FILE, SERVER_CONFIGURATION))

    @property
    def ports_file(self) -> Path:
        """Ports of the last start, so that addresses stay the same."""
        return self.path / "ports.json"

    def private_folder(self, name: str) -> Path:
        """A folder inside the home that nobody else can look into: logs and topics tell of customers."""
        folder = self.path / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def log_file(self, part: str) -> Path:
        """Where a part's output goes."""
        return self.path / "logs" / f"{part}.log"

    def read_stack(self) -> StackInfo | None:
        """The content of ``stack.json``, or None when there is none."""
        return _read(self.stack_file, StackInfo)

    def read_state(self) -> SupervisorState | None:
        """The supervisor's last state; None when there is none, or when another version of casaflow has written it."""
        try:
            return _read(self.state_file, SupervisorState)
        except ValidationError:
            return None

    def write_model(self, path: Path, model: BaseModel) -> None:
        """Replace a file as a whole, readable by its owner only; a reader sees the old content or the new, never half of it."""
        write_private(path, model.model_dump_json(indent=1) + "\n")


def _read(path: Path, model: type[Model]) -> Model | None:
    try:
        return model.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None


def write_private(path: Path, content: str) -> None:
    """Write a file with mode 0600 by way of a temporary one beside it, on disk before it takes the old one's place."""
    handle, name = tempfile.mkstemp(prefix=path.name, dir=path.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    Path(name).replace(path)


def without_password(dsn: str) -> str:
    """A libpq URL as it may be shown."""
    scheme, _, rest = dsn.partition("://")
    credentials, at, place = rest.rpartition("@")
    return f"{scheme}://{credentials.partition(':')[0]}{at}{place}"


def read_json_object(path: Path) -> dict[str, object]:
    """A JSON object from a file; empty when there is no file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    if not isinstance(content, dict):
        message = f"{path} must hold a JSON object"
        raise StackError(message)
    return content
