"""A test system that is not the embedded stack, as its owner describes it in a file: nothing is hurt that isn't named as one."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from infra.postgres.standbys import hosts_of
from infra.stack import processes
from ledger.errors import InvalidInputError
from starter.chaos.system import Kind, Part, Process, System

HostAndPort = Annotated[str, Field(pattern=r"^(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}$")]
Command = Annotated[tuple[str, ...], Field(min_length=1)]

SWITCH: Final = "--yes-this-is-a-test-system"
_WRITTEN_WITHIN_SECONDS: Final = 2.0
"""The clock of files is coarser than the one of processes."""
_MARKS: Final = {
    Kind.API: "api",
    Kind.WORKER: "worker",
    Kind.RELAY: "relay",
    Kind.CONSUMER: "consumers",
    Kind.POSTGRES: "postgres",
    Kind.STANDBY: "postgres",
    Kind.TEMPORAL: "temporal",
    Kind.KAFKA: "kafka",
}
"""What stands in the command line of a part of each kind, unless its description says otherwise."""
_SECRETS: Final = frozenset({"api_key", "postgres_dsn"})
_HIDDEN: Final = "…"
_RULES: Final = {"missing": "must be given", "extra_forbidden": "is no field of a description", "json_invalid": "must be JSON"}
"""In our words, by pydantic's types of errors."""


class DescribedPart(BaseModel):
    """One process of the system."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """As the report calls it; each has its own."""
    kind: Kind
    pid_file: Path
    """Absolute path of a file whose first line is the pid, written when the process starts, and not touched later by anybody else."""
    start: Command | None
    """A command that starts the part again, has its pid file written anew, and ends; null: something else does."""
    promote: Command | None = None
    """Of a standby: a command that makes it the server that takes writes, and ends; null: it is never promoted."""
    command: str | None = Field(default=None, min_length=1)
    """A piece of text that stands in the process's command line; unless given, one that says its kind."""
    address: HostAndPort | None = None
    """Where this very process listens once it does its work, for a stricter look at whether it is back."""
    groups: tuple[str, ...] = ()
    """Of a consumer: its groups, for the same."""

    @field_validator("pid_file")
    @classmethod
    def _is_absolute(cls, value: Path) -> Path:
        if not value.is_absolute():
            message = "must be an absolute path"
            raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.promote is not None and self.kind is not Kind.STANDBY:
            message = f"has a command `promote`, which only a standby can have, and is of kind {self.kind}"
            raise ValueError(message)
        if self.groups and self.kind is not Kind.CONSUMER:
            message = f"has `groups`, which only a consumer can have, and is of kind {self.kind}"
            raise ValueError(message)
        return self

    def find(self) -> Process | None:
        """The process that the pid file names, if it is this part: of this kind, and older than the file.

        A pid that was given to another process since is that of a process that is younger than the file.
        """
        try:
            written = self.pid_file.stat().st_mtime
            pid = int(self.pid_file.read_text(encoding="utf-8").split(maxsplit=1)[0])
        except (OSError, ValueError, IndexError):
            return None
        created, began = processes.created(pid), processes.began_at(pid)
        if created is None or began is None or pid in {1, os.getpid(), os.getppid()}:
            return None
        is_ours = (self.command or _MARKS[self.kind]) in processes.command_line(pid) and began <= written + _WRITTEN_WITHIN_SECONDS
        return Process(pid, created) if is_ours else None


class SystemDescription(BaseModel):
    """The content of the file that ``--system`` names."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    test_system: Literal[True]
    """Nothing but true: its processes may be killed, and accounts and transactions be made in it."""
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    apis: Annotated[tuple[str, ...], Field(min_length=1)]
    """URLs of the APIs; a request that one of them doesn't answer goes to the next."""
    api_key: SecretStr = Field(min_length=1)
    """With the scopes to open accounts, to submit, and to read."""
    postgres_dsn: SecretStr
    """libpq URL; of a primary and its standbys, all hosts with ``target_session_attrs=read-write``."""
    temporal_address: HostAndPort
    kafka_bootstrap_servers: Annotated[str, Field(pattern=r"^[^\s,]+:[0-9]{1,5}(,[^\s,]+:[0-9]{1,5})*$")]
    parts: Annotated[tuple[DescribedPart, ...], Field(min_length=1)]

    @field_validator("apis")
    @classmethod
    def _are_urls(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for url in value:
            split = urlsplit(url)
            if split.scheme not in {"http", "https"} or not split.hostname or split.query or split.fragment:
                message = f"must be URLs such as http://127.0.0.1:8080, and {url!r} is none"
                raise ValueError(message)
        return value

    @field_validator("postgres_dsn")
    @classmethod
    def _is_url(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(("postgresql://", "postgres://")):
            message = "must be a libpq URL such as postgresql://user:password@127.0.0.1:5432/casaflow"
            raise ValueError(message)
        hosts_of(value.get_secret_value())
        return value

    @field_validator("parts")
    @classmethod
    def _have_names_of_their_own(cls, value: tuple[DescribedPart, ...]) -> tuple[DescribedPart, ...]:
        names = [part.name for part in value]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            message = f"must have a name each, and {twice!r} is that of two"
            raise ValueError(message)
        return value

    def hosts(self) -> list[str]:
        """Every host that the description names."""
        apis = [urlsplit(url).hostname or "" for url in self.apis]
        pairs = [self.temporal_address, *self.kafka_bootstrap_servers.split(",")]
        pairs += [part.address for part in self.parts if part.address is not None]
        return [*apis, *hosts_of(self.postgres_dsn.get_secret_value()), *(pair.rpartition(":")[0].strip("[]") for pair in pairs)]

    def system(self) -> System:
        """What the faults are committed on."""
        return System(
            name=self.name,
            apis=tuple(url.rstrip("/") for url in self.apis),
            api_key=self.api_key.get_secret_value(),
            postgres_dsn=self.postgres_dsn.get_secret_value(),
            temporal_address=self.temporal_address,
            kafka_bootstrap_servers=self.kafka_bootstrap_servers,
            parts=tuple(
                Part(
                    name=part.name,
                    kind=part.kind,
                    find=part.find,
                    start=part.start,
                    promote=part.promote,
                    address=part.address,
                    groups=part.groups,
                )
                for part in self.parts
            ),
        )


def read_description(path: Path, *, confirmed: str | None) -> SystemDescription:
    """The description in a file, if it names a test system.

    Args:
        path: of the file.
        confirmed: the name that the command line repeats; needed where an address is not this machine's own.

    Raises:
        InvalidInputError: there is no such file, a field breaks a rule, or the system is not named as one that may be hurt.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInputError(field="--system", value=str(path), rule=f"must be a file that can be read ({error.strerror})") from None
    try:
        description = SystemDescription.model_validate_json(content)
    except ValidationError as error:
        raise _broken_rule(error) from None
    if confirmed is not None and confirmed != description.name:
        raise InvalidInputError(field=SWITCH, value=confirmed, rule=f"must repeat the name in the description, {description.name!r}")
    far = next((host for host in description.hosts() if not is_loopback(host)), None)
    if far is not None and confirmed is None:
        rule = f"is not this machine's own address: {SWITCH} {description.name} says that this is a test system all the same"
        raise InvalidInputError(field="--system", value=far, rule=rule)
    return description


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its very name; no name is looked up."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _broken_rule(error: ValidationError) -> InvalidInputError:
    """The first field that breaks a rule. The file has secrets: a value is shown only where it can be none."""
    found = error.errors()[0]
    where = [str(part) for part in found["loc"]]
    given = found["input"]
    is_shown = where and where[0] not in _SECRETS and isinstance(given, str | int | float) and found["type"] != "extra_forbidden"
    message = found["msg"].removeprefix("Value error, ")
    rule = _RULES.get(found["type"]) or f"{message[0].lower()}{message[1:]}".replace("input should", "should")
    return InvalidInputError(field=".".join(where) or "--system", value=given if is_shown else _HIDDEN, rule=rule)
