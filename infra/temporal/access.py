"""How Temporal is reached: TLS, API key, and what its payloads look like, all of it from the settings."""

from __future__ import annotations

import dataclasses
import ipaddress
from typing import TYPE_CHECKING

from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter, DefaultFailureConverterWithEncodedAttributes
from temporalio.service import TLSConfig

from infra.certificates import NamedFile, read_authorities, read_client_identity, read_file
from infra.settings import HOME_KEYS_FILE
from infra.temporal.encryption import HIDDEN, EncryptingCodec, PayloadKeys
from ledger.errors import InvalidInputError

if TYPE_CHECKING:
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
        text = read_file("CASAFLOW_PAYLOAD_KEYS_FILE", settings.payload_keys_file).decode("utf-8", errors="replace")
        return PayloadKeys.parsed(text, name=f"CASAFLOW_PAYLOAD_KEYS_FILE {settings.payload_keys_file}")
    made_by_up = settings.home / HOME_KEYS_FILE
    if made_by_up.exists():
        return PayloadKeys.parsed(read_file("CASAFLOW_HOME", made_by_up).decode("utf-8", errors="replace"), name=str(made_by_up))
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
    identity = read_client_identity(
        NamedFile("CASAFLOW_TEMPORAL_TLS_CERT", settings.temporal_tls_cert),
        NamedFile("CASAFLOW_TEMPORAL_TLS_KEY", settings.temporal_tls_key),
    )
    return TLSConfig(
        server_root_ca_cert=read_authorities(NamedFile("CASAFLOW_TEMPORAL_TLS_CA", settings.temporal_tls_ca)),
        domain=settings.temporal_tls_server_name,
        client_cert=identity.certificate if identity else None,
        client_private_key=identity.private_key if identity else None,
    )
