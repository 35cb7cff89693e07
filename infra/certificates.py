"""Certificates and keys in PEM files that settings name: read and checked before anything connects with them."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from ledger.errors import InvalidInputError

if TYPE_CHECKING:
    from pathlib import Path


class NamedFile(NamedTuple):
    """A file, and the setting that names it."""

    setting: str
    """As it stands in the environment: ``CASAFLOW_KAFKA_TLS_CA``."""
    path: Path | None


class ClientIdentity(NamedTuple):
    """By what a client shows who it is; both in PEM."""

    certificate: bytes
    """Followed by the rest of its chain, as the file has it."""
    private_key: bytes


def read_file(setting: str, path: Path) -> bytes:
    """The content of a file that a setting names.

    Raises:
        InvalidInputError: it can't be read; the message names the setting.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInputError(field=setting, value=str(path), rule=f"must be a file that can be read ({error.strerror})") from None


def read_authorities(file: NamedFile) -> bytes | None:
    """The certificates in PEM that a server's is checked against; None: no file is named.

    Raises:
        InvalidInputError: the file can't be read, or holds no certificates.
    """
    if file.path is None:
        return None
    pem = read_file(file.setting, file.path)
    _certificates(file.setting, file.path, pem)
    return pem


def read_client_identity(cert: NamedFile, key: NamedFile) -> ClientIdentity | None:
    """A client's certificate and its private key; None: neither is named.

    Raises:
        InvalidInputError: one is named without the other, a file can't be read, the certificate has expired, or the key is another's.
    """
    if cert.path is None and key.path is None:
        return None
    if cert.path is None or key.path is None:
        missing, other = (cert, key) if cert.path is None else (key, cert)
        raise InvalidInputError(field=missing.setting, value=None, rule=f"must be set beside {other.setting}")
    certificate_pem, key_pem = read_file(cert.setting, cert.path), read_file(key.setting, key.path)
    certificate = _certificates(cert.setting, cert.path, certificate_pem)[0]
    if certificate.not_valid_after_utc < dt.datetime.now(dt.UTC):
        rule = f"must not have expired; it did at {certificate.not_valid_after_utc.isoformat()}"
        raise InvalidInputError(field=cert.setting, value=str(cert.path), rule=rule)
    try:
        private = load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError):
        rule = "must be a private key in PEM without a passphrase"
        raise InvalidInputError(field=key.setting, value=str(key.path), rule=rule) from None
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
        raise InvalidInputError(field=key.setting, value=str(key.path), rule=f"must be the key of the certificate in {cert.path}")
    return ClientIdentity(certificate_pem, key_pem)


def _certificates(setting: str, path: Path, pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise InvalidInputError(field=setting, value=str(path), rule="must be a file of certificates in PEM") from None
