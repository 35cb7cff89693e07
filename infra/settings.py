"""Settings of every casaflow process, read from the environment (prefix ``CASAFLOW_``), secrets from files as well.

Each process gets one :class:`Settings`, made once in its composition root and handed on; nothing reads the environment elsewhere.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SecretsSettingsSource, SettingsConfigDict

from infra.oauth.issuers import OAuthIssuer
from ledger.approvals import LONGEST_EXPIRY
from ledger.closings import StatementPeriod
from ledger.commands import MIN_SECRET_BYTES
from ledger.deliveries import MOST_ATTEMPTS
from ledger.errors import InvalidInputError
from ledger.waits import ApprovalThresholds, WaitingRules

HOME_KEYS_FILE = "payload_keys"
"""In ``$CASAFLOW_HOME``: the keys of payloads that ``casaflow up --encrypt`` makes."""
DEFAULT_TENANT = "main"
"""The tenant of a single-bank installation; the key that ``casaflow up`` makes belongs to it."""


_SECRETS_DIR: Final = "CASAFLOW_SECRETS_DIR"
_LARGEST_PORT = 65_535


class MetricsAddress(NamedTuple):
    """Where a process serves its metrics."""

    host: str
    port: int
    """0: a free one, which the log names."""


DEFAULT_TASK_QUEUE = "casaflow-transactions"


ALL_GROUPS: Final = ("audit", "statement", "mis", "notification", "balance")
"""The consumer groups; those with a store in PostgreSQL are in :mod:`infra.groups`."""


class Settings(BaseSettings):
    """Where the servers are and how casaflow behaves; every field is an environment variable ``CASAFLOW_<NAME>``."""

    model_config = SettingsConfigDict(env_prefix="CASAFLOW_", frozen=True, extra="ignore", populate_by_name=True)

    secrets_dir: Path | None = None
    """Folder with a file for each secret, as orchestrators mount them: ``CASAFLOW_POSTGRES_URL`` has what that variable would say. Any
    setting may be such a file; the environment goes before them. So no secret stands in an environment, which others of the same user
    may read."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  there is no such file
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  of a folder that is fixed in the code
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given to the class, then the environment, then the files of :attr:`secrets_dir`."""
        folder = os.environ.get(_SECRETS_DIR)
        if not folder:
            return init_settings, env_settings
        if not Path(folder).is_dir():
            raise InvalidInputError(field=_SECRETS_DIR, value=folder, rule="must be a folder")
        return init_settings, env_settings, SecretsSettingsSource(settings_cls, secrets_dir=folder)

    home: Path = Path(".casaflow")
    """Folder of the embedded stack's state; holds ``stack.json``."""

    postgres_url: SecretStr | None = None
    """libpq URL (``postgresql://user:password@host:port/database``). Set: replaces the embedded PostgreSQL."""
    postgres_pool_size: int = Field(default=16, ge=1, le=500)
    """Database connections a process keeps open at most."""
    postgres_role: str | None = "casaflow_app"
    """What processes turn into once they have logged in. Unless set: workers, API and commands into ``casaflow_app``, which may post and
    can't touch what was posted, relays into ``casaflow_relay``, consumers into ``casaflow_consumer``. Empty: they stay what they logged in
    as, which is then a member of such a role, with privileges inherited."""
    maintenance_every_seconds: float = Field(default=60.0, ge=0, le=86_400)
    """How often one of the workers does the upkeep of the tables; 0: none does, and ``casaflow maintain`` is run by other means."""

    relay_after_seconds: float = Field(default=5.0, ge=0, le=86_400)
    """How long an event is left to its workflow before a relay publishes it. 0: this worker has no relay, since ``casaflow relay`` runs."""

    temporal_address: str | None = None
    """``host:port`` of the Temporal frontend. Set: replaces the embedded Temporal server."""
    temporal_namespace: str = "default"
    """The namespace there, which exists already; its retention is the server's to set."""
    temporal_api_key: SecretStr | None = None
    """Sent as ``Authorization: Bearer`` with every call; needs TLS."""
    temporal_tls: bool | None = None
    """Whether to speak TLS; unless set: when an API key, or any of the four below, is given."""
    temporal_tls_ca: Path | None = None
    """PEM file of the authorities that the server's certificate is checked against; unless given, the machine's own."""
    temporal_tls_cert: Path | None = None
    """PEM file of the client's certificate, followed by the rest of its chain."""
    temporal_tls_key: Path | None = None
    """PEM file of the client's private key, without a passphrase."""
    temporal_tls_server_name: str | None = None
    """Name that the server's certificate must bear where it isn't the address's host."""
    payload_keys: SecretStr | None = None
    """``id:base64,id:base64``, each key of 32 bytes: the first encrypts what Temporal stores, all of them decrypt."""
    payload_keys_file: Path | None = None
    """The same, one ``id:base64`` a line, instead. Unless either is given: ``$CASAFLOW_HOME/payload_keys``, if ``up --encrypt`` made it."""
    payload_encryption: Literal["required", "off"] | None = None
    """``required``: no process talks to Temporal without keys. ``off``: it does, even where there are some. Unless set: required where
    Temporal's address isn't this machine's own, since payloads name customers and would cross a network readable."""
    temporal_ui: str | None = Field(default=None, pattern=r"^https?://[^\s?#]+$")
    """URL of Temporal's Web UI, into which the console links; ``up`` says where the embedded one is. Unless set: no links."""
    task_queue: str = DEFAULT_TASK_QUEUE
    """Temporal task queue that carries transactions."""

    transfers: Literal["linked", "saga"] = "linked"
    """``linked``: a plain transfer posts both legs in one database transaction. ``saga``: one after the other, for accounts in
    different databases."""
    worker_deployment: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")
    """Name of the worker deployment whose versions `casaflow promote` makes current; ``up`` says ``casaflow``. Unless set, workers have no
    versions: every worker of the task queue takes every run."""
    worker_build_id: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")
    """The version of a worker within its deployment; unless set, the package's version with a digest of its sources."""

    kafka_bootstrap_servers: str | None = None
    """Comma-separated ``host:port`` list. Set: replaces the embedded Kafka broker."""
    kafka_security_protocol: str = "PLAINTEXT"
    """``PLAINTEXT``, ``SSL``, ``SASL_PLAINTEXT`` or ``SASL_SSL``: what the listener speaks. Nothing is derived: a setting that the protocol
    has no use for is refused."""
    kafka_sasl_mechanism: str | None = None
    """``SCRAM-SHA-256``, ``SCRAM-SHA-512`` or ``PLAIN``; set with the two ``SASL`` protocols, and only with them."""
    kafka_sasl_username: str | None = None
    """Whom the brokers know the processes as."""
    kafka_sasl_password: SecretStr | None = None
    """Of that user."""
    kafka_tls_ca: Path | None = None
    """PEM file of the authorities that the brokers' certificates are checked against; unless given, the machine's own."""
    kafka_tls_cert: Path | None = None
    """PEM file of the client's certificate, followed by the rest of its chain."""
    kafka_tls_key: Path | None = None
    """PEM file of the client's private key, without a passphrase."""
    kafka_replication_factor: int | None = Field(default=None, ge=1, le=15)
    """Copies of each partition of a topic that is made. Unless set: three, and one for the embedded broker."""
    kafka_min_insync_replicas: int | None = Field(default=None, ge=1, le=15)
    """Copies that must have an event before it counts as published. Unless set: one fewer than there are, so that one may be away."""
    kafka_retention_days: int = Field(default=30, ge=1, le=3_650)
    """How long an event stays readable in a topic that is made: how long a group may be away and miss nothing."""

    api_host: str = "127.0.0.1"
    """Where the HTTP API listens. Other than on this machine's own addresses it belongs behind a proxy that speaks TLS."""
    api_port: int = Field(default=8080, ge=0, le=65535)
    """Preferred port of the HTTP API; the stack takes a free one instead when it is in use."""

    stack_controls: bool = False
    """Whether the API may kill a worker process of the stack in `home`, to show that nothing is lost; set by ``up`` for its own API, and
    by nobody else."""

    request_timeout_seconds: float = Field(default=90.0, ge=65, le=600)
    """After which the API gives up waiting for its own answer; above the 60 seconds that `Prefer: wait` is granted at most."""
    rate_limit_per_second: float = Field(default=0, ge=0, le=1_000_000)
    """Requests a second of one API key that one process of the API answers; 0: as many as come."""
    rate_limit_burst: int = Field(default=100, ge=1, le=1_000_000)
    """Requests of one key that are answered at once after a pause, where there is a rate limit."""
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Comma-separated origins, such as ``https://desk.bank.example``, whose pages may ask the API in a browser. Empty: none may."""

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _are_origins(cls, value: Any) -> Any:  # noqa: ANN401  whatever was given
        origins = tuple(each.strip() for each in value.split(",") if each.strip()) if isinstance(value, str) else tuple(value)
        if not all(re.fullmatch(r"https?://[A-Za-z0-9.\[\]:-]+", each) for each in origins):
            message = "must be origins such as https://desk.bank.example, without a path"
            raise ValueError(message)
        return origins

    event_streams: int = Field(default=200, ge=1, le=10_000)
    """Streams of events that one API process has open at one time."""
    event_streams_per_key: int = Field(default=10, ge=1, le=10_000)
    """Of those, the streams of one API key."""

    key_cache_seconds: float = Field(default=5.0, ge=0, le=60)
    """How long the API lets an API key in without looking it up again, so how soon one that is revoked elsewhere is worthless."""
    oauth_issuers: tuple[OAuthIssuer, ...] = ()
    """JSON: issuers of access tokens that are taken beside API keys, each with the fields of :class:`infra.oauth.issuers.OAuthIssuer`:
    ``[{"issuer": "https://id.bank.example", "audience": "casaflow", "jwks": "https://id.bank.example/jwks"}]``."""

    file_max_bytes: int = Field(default=256 * 1024 * 1024, ge=1024, le=16 * 1024**3)
    """How large a payment file may be; a line of CSV has some 60 to 100 bytes."""

    codec_host: str = "127.0.0.1"
    """Where `casaflow codec` listens. Other than on this machine's own addresses it belongs behind a proxy that speaks TLS."""
    codec_port: int = Field(default=8081, ge=0, le=65535)
    """Its port; 0: a free one."""
    codec_origins: str = ""
    """Comma-separated origins of Temporal's Web UI, whose pages may ask the codec server; ``casaflow codec`` finds the embedded one's."""
    workflow_tasks: int = Field(default=100, ge=1, le=1_000)
    """Workflow tasks that a worker process carries at one time: enough to keep two cores busy, and few enough that no local attempt waits
    long for its turn."""
    api_workflow_tasks: int = Field(default=16, ge=0, le=1_000)
    """Workflow tasks that the API's process carries itself at one time: a transaction that it starts begins there, without the way through
    Temporal's queue. Further ones go to the workers. 0: the API hosts no worker."""
    api_stop_after_seconds: float = Field(default=0.0, ge=0, le=300)
    """How long the API goes on serving after SIGTERM, with 503 at ``/readyz``: as long as a load balancer needs to notice."""
    workers: int = Field(default=1, ge=1, le=64)
    """Worker processes that ``casaflow up`` runs, besides the API."""
    servers_only: bool = False
    """Have ``casaflow up`` start PostgreSQL, Temporal and Kafka, and nothing of casaflow's own: for what is done to a restored database."""

    rates_source: Literal["ecb-history", "ecb-daily"] = "ecb-daily"
    """``ecb-daily``: the European Central Bank's daily XML over HTTP. ``ecb-history``: the rates that ship with a wheel, no network."""
    rates_daily_url: str = "https://www.ecb.europa.eu/stats/eurofxref/eurofxref-daily.xml"
    """Where ``ecb-daily`` reads; the ECB publishes about 16:00 CET on TARGET working days."""
    rates_max_age_days: int = Field(default=7, ge=0, le=36_500)
    """A rate whose date is more than this many days before the booking date is refused. Seven covers the longest TARGET closing days."""

    @field_validator("postgres_role")
    @classmethod
    def _none_if_empty(cls, value: str | None) -> str | None:
        return value or None

    def role_of(self, lesser: str) -> str | None:
        """What a process that posts nothing turns into: the role that was set, else its own."""
        return self.postgres_role if "postgres_role" in self.model_fields_set else lesser

    sweep_every_seconds: float = Field(default=60.0, ge=0, le=86_400)
    """How often a sweep looks for transactions that nobody carries any more; 0: never, and ``casaflow sweep`` is run by other means."""
    sweep_after_seconds: float = Field(default=60.0, ge=0, le=86_400)
    """How long a transaction must stand without a workflow before a sweep settles it: whoever terminated one may be about to reset it."""
    command_secrets: SecretStr | None = None
    """Comma-separated secrets, of 32 characters at least, shared by API and workers: the API signs operators' commands with the first one,
    and workers obey what any of them has signed, so that one is rotated by putting the new one in front. Not set: no command is obeyed."""

    @field_validator("command_secrets")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and any(len(secret) < MIN_SECRET_BYTES for secret in _secrets_of(value)):
            message = f"each secret must have {MIN_SECRET_BYTES} bytes at least"
            raise ValueError(message)
        return value

    @property
    def signing_secrets(self) -> tuple[bytes, ...]:
        """The secrets of :attr:`command_secrets`; the first one signs."""
        return _secrets_of(self.command_secrets) if self.command_secrets is not None else ()

    approval_thresholds: dict[str, str | dict[str, str]] = Field(default_factory=dict)
    """JSON: currency to decimal string, ``{"EUR": "10000.00"}``. A transaction above it needs a second person's approval. A tenant's own:
    ``{"EUR": "10000.00", "bank-2": {"EUR": "500.00"}}``."""
    approval_expires_in: dt.timedelta = Field(default=dt.timedelta(hours=24), gt=dt.timedelta(0), le=LONGEST_EXPIRY)
    """ISO 8601 duration (``PT24H``): how long a transaction waits for its approval, unless its caller says so."""
    bic: str | None = Field(default=None, pattern=r"^[A-Z0-9]{4}[A-Z]{2}[A-Z0-9]{2}(?:[A-Z0-9]{3})?$")
    """The bank's BIC (ISO 9362): stands in statements, and tells payments to our own accounts from those that leave. Not set: neither."""
    time_zone: str = "UTC"
    """The bank's, an IANA name: a requested execution date begins at its midnight."""
    consumer_groups: Annotated[tuple[str, ...], NoDecode] = ALL_GROUPS
    """Comma-separated consumer groups that are run here: those that ``casaflow up`` starts, and whose stores `casaflow check` proves."""

    @field_validator("consumer_groups", mode="before")
    @classmethod
    def _are_groups(cls, value: Any) -> Any:  # noqa: ANN401  whatever was given
        names = tuple(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else tuple(value)
        unknown = sorted(set(names) - set(ALL_GROUPS))
        if unknown or len(set(names)) < len(names):
            message = f"must be names of {', '.join(ALL_GROUPS)}, each once"
            raise ValueError(message)
        return names

    statement_period: StatementPeriod = StatementPeriod.MONTH
    """How often the statement group closes numbered statements: at the end of each ``day``, ``week`` or ``month`` of `time_zone`."""
    execution_days_ahead: int = Field(default=365, ge=0, le=3_660)
    """How many days ahead a requested execution date may lie."""

    @field_validator("approval_thresholds")
    @classmethod
    def _are_amounts(cls, value: dict[str, str | dict[str, str]]) -> dict[str, str | dict[str, str]]:
        try:
            ApprovalThresholds.parse(value)
        except InvalidInputError as error:
            raise ValueError(str(error)) from error
        return value

    @field_validator("time_zone")
    @classmethod
    def _is_a_time_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            message = "must be an IANA name, such as Europe/Prague"
            raise ValueError(message) from error
        return value

    @property
    def waiting_rules(self) -> WaitingRules:
        """What transactions wait for."""
        return WaitingRules(
            thresholds=ApprovalThresholds.parse(self.approval_thresholds),
            approval_expires_in=self.approval_expires_in,
            time_zone=ZoneInfo(self.time_zone),
            most_days_ahead=self.execution_days_ahead,
        )

    smtp_host: str | None = None
    """The SMTP server that takes e-mails to customers; not set: they wait."""
    smtp_port: int | None = Field(default=None, ge=1, le=_LARGEST_PORT)
    """Unless set: 587 with ``starttls``, 465 with ``tls``, 25 with ``none``."""
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    """``starttls``: an unencrypted beginning, and refused where the server doesn't offer it. ``tls``: from the first byte on."""
    smtp_username: str | None = None
    """Whom the SMTP server knows casaflow as; not set: it doesn't log in."""
    smtp_password: SecretStr | None = None
    """Of that user."""
    smtp_from: str | None = None
    """Whom e-mails are from: an address, or ``Bank <no-reply@bank.example>``. Needed with `smtp_host`."""
    smtp_ca: Path | None = None
    """PEM file of the authorities that the SMTP server's certificate is checked against; unless given, the machine's own."""
    smtp_timeout_seconds: float = Field(default=30.0, gt=0, le=60)
    """Of one attempt to deliver an e-mail."""
    webhook_allow_private: bool = False
    """Whether webhooks may go to private, link-local and loopback addresses, and there by plain http. For tests, and for receivers within
    the bank's own network; otherwise a customer's URL could reach what only this network may."""
    webhook_timeout_seconds: float = Field(default=20.0, gt=0, le=60)
    """Of one attempt to deliver a webhook."""
    notification_templates: Path | None = None
    """Folder of the bank's own templates of e-mails, ``<language>/<kind>.txt`` and ``.html``; what it lacks is as shipped."""
    notifications_at_once: int = Field(default=32, ge=1, le=500)
    """Messages that a member of the group notification has on their way at one time."""
    notification_attempts: int = Field(default=MOST_ATTEMPTS, ge=1, le=MOST_ATTEMPTS)
    """After so many failed attempts a message is dead, until an operator has it replayed."""

    @model_validator(mode="after")
    def _smtp_has_a_sender(self) -> Self:
        if self.smtp_host is not None and self.smtp_from is None:
            message = "CASAFLOW_SMTP_FROM must be set beside CASAFLOW_SMTP_HOST"
            raise ValueError(message)
        return self

    metrics_address: Annotated[MetricsAddress | None, NoDecode] = None
    """``host:port``, or a port alone for loopback, where a worker, relay or consumer serves ``/metrics``; not set: it serves none. The API
    serves them beside all else. Anybody who reaches the port may read, so it is no address of a public network."""
    otlp_endpoint: str | None = Field(
        default=None, validation_alias=AliasChoices("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    )
    """URL of an OpenTelemetry collector (http/protobuf); not set: nothing is traced. The name is OpenTelemetry's, and so are all others of
    its environment variables, which its exporter reads by itself."""

    @field_validator("metrics_address", mode="before")
    @classmethod
    def _host_and_port(cls, value: Any) -> Any:  # noqa: ANN401  whatever was given
        if not isinstance(value, str):
            return value
        host, _, port = value.strip().rpartition(":")
        if not value.strip():
            return None
        if not port.isdecimal() or int(port) > _LARGEST_PORT:
            message = "must be host:port, such as 127.0.0.1:9464, or a port"
            raise ValueError(message)
        return MetricsAddress(host.strip("[]") or "127.0.0.1", int(port))

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """What is less than this is not logged."""
    log_format: Literal["json", "console"] = "json"
    """``json``: a line of JSON for each entry. ``console``: for people, who read it in a terminal."""


_FILES = (
    "secrets_dir",
    "payload_keys_file",
    "temporal_tls_ca",
    "temporal_tls_cert",
    "temporal_tls_key",
    "kafka_tls_ca",
    "kafka_tls_cert",
    "kafka_tls_key",
)


def absolute_files() -> dict[str, str]:
    """The environment variables that name files, as a process that is started in another folder needs them."""
    names = [f"CASAFLOW_{field.upper()}" for field in _FILES]
    return {name: str(Path(path).absolute()) for name in names if (path := os.environ.get(name))}


def _secrets_of(value: SecretStr) -> tuple[bytes, ...]:
    return tuple(secret.strip().encode() for secret in value.get_secret_value().split(",") if secret.strip())
