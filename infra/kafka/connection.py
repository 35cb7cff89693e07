"""How Kafka is reached: security protocol, SASL, TLS, all of it from the settings, and the same for every client.

See ``docs/decisions/0026-kafka-in-production.md``.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from aiokafka.conn import create_conn
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from infra.certificates import NamedFile, read_authorities, read_client_identity
from ledger.errors import InvalidInputError

if TYPE_CHECKING:
    from pydantic import SecretStr

    from infra.settings import Settings

PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS: Final = ("SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN")
_HIDDEN: Final = "***"
_EXPLAIN_SECONDS: Final = 3.0
"""How long it may take to find out why a broker was not reached."""


@dataclass(frozen=True)
class KafkaConnection:
    """Where the brokers are, and how a client shows who it is and checks who they are."""

    bootstrap_servers: str
    """Comma-separated ``host:port`` list."""
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ssl_context: ssl.SSLContext | None = field(default=None, repr=False)

    @classmethod
    def to(cls, servers: KafkaConnection | str) -> KafkaConnection:
        """A connection as it is; a bare ``host:port`` list means one without TLS and SASL, as the embedded broker has it."""
        return cls(servers) if isinstance(servers, str) else servers

    def client_options(self) -> dict[str, Any]:
        """What every client of aiokafka is made with, besides its own options."""
        options: dict[str, Any] = {"bootstrap_servers": self.bootstrap_servers, "security_protocol": self.security_protocol}
        if self.ssl_context is not None:
            options["ssl_context"] = self.ssl_context
        if self.sasl_mechanism is not None and self.sasl_password is not None:
            options["sasl_mechanism"] = self.sasl_mechanism
            options["sasl_plain_username"] = self.sasl_username
            options["sasl_plain_password"] = self.sasl_password.get_secret_value()
        return options

    async def start(self, client: Any) -> None:  # noqa: ANN401  a producer, a consumer or an admin client; aiokafka has no types
        """Start a client that was made with these options.

        Raises:
            KafkaConnectionError: no broker was reached. It says why, and which setting may be wrong, which aiokafka itself only logs.
        """
        try:
            await client.start()
        except KafkaConnectionError as error:
            raise KafkaConnectionError(await self.why_unreachable()) from error

    async def why_unreachable(self) -> str:
        """Try each broker once more, and say in words what went wrong; within three seconds."""
        found: list[str] = []
        try:
            async with asyncio.timeout(_EXPLAIN_SECONDS):
                for address in self.bootstrap_servers.split(","):
                    found.append(f"{address.strip()}: {await self._complaint(address.strip())}")  # noqa: PERF401  it may end in between
        except TimeoutError:
            found.append(f"{self.bootstrap_servers}: no answer within {_EXPLAIN_SECONDS:.0f} s")
        return "; ".join(found)

    async def _complaint(self, address: str) -> str:
        host, _, port = address.rpartition(":")
        options = {**self.client_options(), "client_id": "casaflow-diagnosis", "request_timeout_ms": int(_EXPLAIN_SECONDS * 1000)}
        del options["bootstrap_servers"]
        try:
            connection = await create_conn(host.strip("[]"), int(port), **options)
            try:
                # A broker may answer what versions it speaks before it knows who asks, and nothing else.
                await connection.send(MetadataRequest([]))
            finally:
                connection.close()
        except (KafkaError, OSError, ValueError) as error:
            return self._in_words(error)
        return "answers by now"

    def _in_words(self, error: Exception) -> str:
        """What an error means, and which settings to look at."""
        said = str(error) or type(error).__name__
        by_type: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
            (ssl.SSLCertVerificationError, f"its certificate is not trusted ({said}); see CASAFLOW_KAFKA_TLS_CA"),
            (
                SaslAuthenticationFailed,
                f"user {self.sasl_username!r} is refused ({said}); see CASAFLOW_KAFKA_SASL_USERNAME and CASAFLOW_KAFKA_SASL_PASSWORD",
            ),
            (UnsupportedSaslMechanismError, f"it does not take {self.sasl_mechanism}; see CASAFLOW_KAFKA_SASL_MECHANISM"),
            (IllegalSaslStateError, f"it wants no SASL here ({said}); see CASAFLOW_KAFKA_SECURITY_PROTOCOL"),
            (ssl.SSLError, f"TLS fails ({said}); see CASAFLOW_KAFKA_SECURITY_PROTOCOL, CASAFLOW_KAFKA_TLS_CERT and CASAFLOW_KAFKA_TLS_KEY"),
            (ConnectionRefusedError, said),
            (
                (KafkaConnectionError, ConnectionResetError),
                f"it ended the connection without a word ({said}); see CASAFLOW_KAFKA_SECURITY_PROTOCOL and CASAFLOW_KAFKA_TLS_CERT",
            ),
        )
        return next((words for kind, words in by_type if isinstance(error, kind)), said)


def connection_of(settings: Settings) -> KafkaConnection:
    """Read and check all that the settings say about the way to Kafka. Composition roots ask first, so that none starts half.

    Raises:
        InvalidInputError: a setting, or the file that it names, breaks a rule; the message names it, and shows no secret.
    """
    if not settings.kafka_bootstrap_servers:
        rule = "must be set, or the stack must run"
        raise InvalidInputError(field="CASAFLOW_KAFKA_BOOTSTRAP_SERVERS", value=settings.kafka_bootstrap_servers, rule=rule)
    check_security(settings)
    return KafkaConnection(
        settings.kafka_bootstrap_servers,
        security_protocol=settings.kafka_security_protocol,
        sasl_mechanism=settings.kafka_sasl_mechanism,
        sasl_username=settings.kafka_sasl_username,
        sasl_password=settings.kafka_sasl_password,
        ssl_context=_ssl_context(settings) if settings.kafka_security_protocol.endswith("SSL") else None,
    )


def check_security(settings: Settings) -> None:
    """Whether protocol, SASL and TLS fit together, without a look at the files.

    Raises:
        InvalidInputError: a setting is unknown, missing, or of no use with the protocol.
    """
    protocol = settings.kafka_security_protocol
    if protocol not in PROTOCOLS:
        raise InvalidInputError(field="CASAFLOW_KAFKA_SECURITY_PROTOCOL", value=protocol, rule=f"must be one of {', '.join(PROTOCOLS)}")
    password = settings.kafka_sasl_password
    sasl = {
        "CASAFLOW_KAFKA_SASL_MECHANISM": settings.kafka_sasl_mechanism,
        "CASAFLOW_KAFKA_SASL_USERNAME": settings.kafka_sasl_username,
        "CASAFLOW_KAFKA_SASL_PASSWORD": _HIDDEN if password is not None and password.get_secret_value() else None,
    }
    tls = {
        "CASAFLOW_KAFKA_TLS_CA": settings.kafka_tls_ca,
        "CASAFLOW_KAFKA_TLS_CERT": settings.kafka_tls_cert,
        "CASAFLOW_KAFKA_TLS_KEY": settings.kafka_tls_key,
    }
    if protocol.startswith("SASL"):
        for name, value in sasl.items():
            if not value:
                raise InvalidInputError(field=name, value=value, rule=f"must be set: CASAFLOW_KAFKA_SECURITY_PROTOCOL is {protocol}")
        if settings.kafka_sasl_mechanism not in MECHANISMS:
            rule = f"must be one of {', '.join(MECHANISMS)}"
            raise InvalidInputError(field="CASAFLOW_KAFKA_SASL_MECHANISM", value=settings.kafka_sasl_mechanism, rule=rule)
        if (protocol, settings.kafka_sasl_mechanism) == ("SASL_PLAINTEXT", "PLAIN"):
            rule = "must be SASL_SSL while CASAFLOW_KAFKA_SASL_MECHANISM is PLAIN, which sends the password as it is"
            raise InvalidInputError(field="CASAFLOW_KAFKA_SECURITY_PROTOCOL", value=protocol, rule=rule)
    else:
        _refuse_needless(protocol, sasl, "SASL_SSL or SASL_PLAINTEXT")
    if not protocol.endswith("SSL"):
        _refuse_needless(protocol, tls, "SSL or SASL_SSL")


def _refuse_needless(protocol: str, settings: dict[str, Any], needed: str) -> None:
    given = next((name for name, value in settings.items() if value is not None), None)
    if given is not None:
        raise InvalidInputError(field="CASAFLOW_KAFKA_SECURITY_PROTOCOL", value=protocol, rule=f"must be {needed} while {given} is set")


def _ssl_context(settings: Settings) -> ssl.SSLContext:
    authorities = read_authorities(NamedFile("CASAFLOW_KAFKA_TLS_CA", settings.kafka_tls_ca))
    cert, key = settings.kafka_tls_cert, settings.kafka_tls_key
    read_client_identity(NamedFile("CASAFLOW_KAFKA_TLS_CERT", cert), NamedFile("CASAFLOW_KAFKA_TLS_KEY", key))
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cadata=authorities.decode("ascii") if authorities else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert is not None:
        context.load_cert_chain(cert, key)
    return context


async def disconnect(consumer: Any) -> None:  # noqa: ANN401  aiokafka has no types
    """Stop a consumer, whatever state it is in.

    While the brokers are away, stopping one may end half-way with the cancellation of a task of the consumer's own, which isn't the
    caller's; its connections are then closed here.
    """
    stopping = asyncio.ensure_future(consumer.stop())
    try:
        await asyncio.wait({stopping})
    finally:
        stopping.cancel()  # where the caller waits no longer; one that has ended stays as it ended
    if stopping.cancelled():
        await consumer._client.close()  # noqa: SLF001
    elif (error := stopping.exception()) is not None and not isinstance(error, KafkaError | OSError):
        raise error


class _WithoutCredentials(logging.Filter):
    """Drops aiokafka's line about each request where the request is what PLAIN logs in with: it would show the password."""

    def filter(self, record: logging.LogRecord) -> bool:
        arguments = record.args if isinstance(record.args, tuple) else ()
        return not any("SaslAuthenticate" in type(argument).__name__ for argument in arguments)


logging.getLogger("aiokafka.conn").addFilter(_WithoutCredentials())
