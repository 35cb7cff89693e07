"""How Temporal is reached: TLS, API key, and what its payloads look like, all of it from the settings."""

from __future__ import annotations

import dataclasses
import datetime as dt
import ipaddress
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter, DefaultFailureConverterWithEncodedAttributes
from temporalio.service import TLSConfig

from infra.settings import HOME_KEYS_FILE
from infra.temporal.encryption import HIDDEN, EncryptingCodec, PayloadKeys
from ledger.errors import InvalidInputError

if TYPE_CHECKING:
    from pathlib import Path

    from infra.settings import Settings


@dataclasses.dataclass(frozen=True)
class TemporalAccess:
    """What a client is made with, besides address and namespace."""

    tls: TLSConfig | None
    api_key: str | None = dataclasses.field(repr=False)
    data_converter: DataConverter


def access_of(settings: Settings) -> TemporalAccess:
    """Read and check all that the settings say about the way to Temporal. Composition roots ask first, so that none starts half.

    Raises:
        InvalidInputError: a setting, or the file that it names, breaks a rule; the message names it, and shows no secret.
    """
    api_key = settings.temporal_api_key.get_secret_value() if settings.temporal_api_key else None
    if api_key is not None and not (api_key.isascii() and api_key.isprintable() and api_key.strip()):
        raise InvalidInputError(field="CASAFLOW_TEMPORAL_API_KEY", value=HIDDEN, rule="must be printable ASCII characters")
    return TemporalAccess(tls=_tls(settings, has_api_key=api_key is not None), api_key=api_key, data_converter=data_converter(settings))


def data_converter(settings: Settings) -> DataConverter:
    """Pydantic models as payloads, encrypted where there are keys; failures too, whose messages name accounts.

    Raises:
        InvalidInputError: a key is malformed, or there is none where one is required.
    """
    keys = payload_keys(settings)
    if keys is not None:
        return dataclasses.replace(
            pydantic_data_converter,
            payload_codec=EncryptingCodec(keys),
            failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
        )
    if settings.payload_encryption == "required":
        raise InvalidInputError(field="CASAFLOW_PAYLOAD_KEYS", value=None, rule="must be set: CASAFLOW_PAYLOAD_ENCRYPTION is `required`")
    if settings.payload_encryption is None and settings.temporal_address and not _is_this_machine(settings.temporal_address):
        rule = f"must be set: payloads name customers, and go to {settings.temporal_address}; CASAFLOW_PAYLOAD_ENCRYPTION=off allows that"
        raise InvalidInputError(field="CASAFLOW_PAYLOAD_KEYS", value=None, rule=rule)
    return pydantic_data_converter


def payload_keys(settings: Settings) -> PayloadKeys | None:
    """The keys that payloads are encrypted with; None: there are none.

    Raises:
        InvalidInputError: a key is malformed, or its file can't be read.
    """
    if settings.payload_encryption == "off":
        return None
    if settings.payload_keys is not None and settings.payload_keys_file is not None:
        raise InvalidInputError(field="CASAFLOW_PAYLOAD_KEYS", value=HIDDEN, rule="must not be set beside CASAFLOW_PAYLOAD_KEYS_FILE")
    if settings.payload_keys is not None:
        return PayloadKeys.parsed(settings.payload_keys.get_secret_value(), name="CASAFLOW_PAYLOAD_KEYS")
    if settings.payload_keys_file is not None:
        text = _file("CASAFLOW_PAYLOAD_KEYS_FILE", settings.payload_keys_file).decode("utf-8", errors="replace")
        return PayloadKeys.parsed(text, name=f"CASAFLOW_PAYLOAD_KEYS_FILE {settings.payload_keys_file}")
    made_by_up = settings.home / HOME_KEYS_FILE
    if made_by_up.exists():
        return PayloadKeys.parsed(_file("CASAFLOW_HOME", made_by_up).decode("utf-8", errors="replace"), name=str(made_by_up))
    return None


def _is_this_machine(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tls(settings: Settings, *, has_api_key: bool) -> TLSConfig | None:
    given = {
        "CASAFLOW_TEMPORAL_API_KEY": HIDDEN if has_api_key else None,
        "CASAFLOW_TEMPORAL_TLS_CA": settings.temporal_tls_ca,
        "CASAFLOW_TEMPORAL_TLS_CERT": settings.temporal_tls_cert,
        "CASAFLOW_TEMPORAL_TLS_KEY": settings.temporal_tls_key,
        "CASAFLOW_TEMPORAL_TLS_SERVER_NAME": settings.temporal_tls_server_name,
    }
    needing = [name for name, value in given.items() if value is not None]
    if settings.temporal_tls is False and needing:
        raise InvalidInputError(field="CASAFLOW_TEMPORAL_TLS", value=False, rule=f"must not be off while {needing[0]} is set")
    if not settings.temporal_tls and not needing:
        return None
    authorities = _file("CASAFLOW_TEMPORAL_TLS_CA", settings.temporal_tls_ca) if settings.temporal_tls_ca else None
    if authorities is not None:
        _certificates("CASAFLOW_TEMPORAL_TLS_CA", settings.temporal_tls_ca, authorities)
    certificate, key = _client_identity(settings.temporal_tls_cert, settings.temporal_tls_key)
    return TLSConfig(
        server_root_ca_cert=authorities,
        domain=settings.temporal_tls_server_name,
        client_cert=certificate,
        client_private_key=key,
    )


def _client_identity(cert: Path | None, key: Path | None) -> tuple[bytes | None, bytes | None]:
    if cert is None and key is None:
        return None, None
    if cert is None or key is None:
        missing, other = ("CERT", "KEY") if cert is None else ("KEY", "CERT")
        rule = f"must be set beside CASAFLOW_TEMPORAL_TLS_{other}"
        raise InvalidInputError(field=f"CASAFLOW_TEMPORAL_TLS_{missing}", value=None, rule=rule)
    certificate_pem, key_pem = _file("CASAFLOW_TEMPORAL_TLS_CERT", cert), _file("CASAFLOW_TEMPORAL_TLS_KEY", key)
    certificate = _certificates("CASAFLOW_TEMPORAL_TLS_CERT", cert, certificate_pem)[0]
    if certificate.not_valid_after_utc < dt.datetime.now(dt.UTC):
        rule = f"must not have expired; it did at {certificate.not_valid_after_utc.isoformat()}"
        raise InvalidInputError(field="CASAFLOW_TEMPORAL_TLS_CERT", value=str(cert), rule=rule)
    try:
        private = load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError):
        rule = "must be a private key in PEM without a passphrase"
        raise InvalidInputError(field="CASAFLOW_TEMPORAL_TLS_KEY", value=str(key), rule=rule) from None
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
        raise InvalidInputError(field="CASAFLOW_TEMPORAL_TLS_KEY", value=str(key), rule=f"must be the key of the certificate in {cert}")
    return certificate_pem, key_pem


def _certificates(name: str, path: Path | None, pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise InvalidInputError(field=name, value=str(path), rule="must be a file of certificates in PEM") from None


def _file(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInputError(field=name, value=str(path), rule=f"must be a file that can be read ({error.strerror})") from None
