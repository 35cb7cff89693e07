"""Each setting about the way to Temporal that can't work is refused by its name, before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from temporalio.converter import DefaultFailureConverter, DefaultFailureConverterWithEncodedAttributes

from infra.settings import Settings
from infra.temporal.access import access_of
from infra.temporal.encryption import EncryptingCodec, new_entry
from ledger.errors import InvalidInputError
from tests.unit.temporal.certificates import Authority


def settings(folder: Path, **given: Any) -> Settings:
    return Settings.model_validate({"home": folder, "temporal_address": "127.0.0.1:7233", **given})


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def refused(given: Settings) -> tuple[str, str]:
    with pytest.raises(InvalidInputError) as found:
        access_of(given)
    return found.value.field, found.value.rule


def test_without_settings_it_is_plain(tmp_path: Path) -> None:
    access = access_of(settings(tmp_path))
    assert (access.tls, access.api_key, access.data_converter.payload_codec) == (None, None, None)
    assert access.data_converter.failure_converter_class is DefaultFailureConverter


@pytest.mark.parametrize("given", [{"temporal_tls": True}, {"temporal_api_key": "k"}, {"temporal_tls_server_name": "temporal.bank"}])
def test_whatever_needs_tls_switches_it_on(tmp_path: Path, given: dict[str, Any]) -> None:
    assert access_of(settings(tmp_path, **given)).tls is not None


def test_an_api_key_never_crosses_the_network_in_the_clear(tmp_path: Path) -> None:
    found = refused(settings(tmp_path, temporal_api_key="secret-key", temporal_tls=False))
    assert found == ("CASAFLOW_TEMPORAL_TLS", "must not be off while CASAFLOW_TEMPORAL_API_KEY is set")


def test_an_api_key_that_no_header_can_carry_is_refused_without_being_shown(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="CASAFLOW_TEMPORAL_API_KEY must be printable ASCII characters") as found:
        access_of(settings(tmp_path, temporal_api_key="secret\nkey"))
    assert "secret" not in str(found.value)


def test_certificates_are_read(tmp_path: Path, authority: Authority) -> None:
    client = authority.issue("client")
    given = settings(tmp_path, temporal_tls_ca=authority.file, temporal_tls_cert=client.cert, temporal_tls_key=client.key)
    tls = access_of(given).tls
    assert tls is not None
    assert (tls.server_root_ca_cert, tls.client_cert) == (authority.file.read_bytes(), client.cert.read_bytes())
    assert tls.client_private_key == client.key.read_bytes()


@pytest.mark.parametrize("setting", ["temporal_tls_ca", "temporal_tls_cert"])
def test_a_file_that_is_missing_or_no_certificate_is_named(tmp_path: Path, authority: Authority, setting: str) -> None:
    other: dict[str, Any] = {"temporal_tls_key": authority.issue("client").key} if setting == "temporal_tls_cert" else {}
    name = f"CASAFLOW_{setting.upper()}"
    missing = settings(tmp_path, **{setting: tmp_path / "missing.pem"}, **other)
    assert refused(missing) == (name, "must be a file that can be read (No such file or directory)")
    (tmp_path / "text.pem").write_text("not a certificate")
    assert refused(settings(tmp_path, **{setting: tmp_path / "text.pem"}, **other)) == (name, "must be a file of certificates in PEM")


@pytest.mark.parametrize(("given", "missing"), [("cert", "key"), ("key", "cert")])
def test_a_certificate_and_its_key_are_needed_together(tmp_path: Path, authority: Authority, given: str, missing: str) -> None:
    files = authority.issue("client")
    found = refused(settings(tmp_path, **{f"temporal_tls_{given}": getattr(files, given)}))
    assert found == (f"CASAFLOW_TEMPORAL_TLS_{missing.upper()}", f"must be set beside CASAFLOW_TEMPORAL_TLS_{given.upper()}")


def test_an_expired_certificate_a_foreign_key_and_a_locked_key_are_refused(tmp_path: Path, authority: Authority) -> None:
    good, other = authority.issue("good"), authority.issue("other")
    expired, locked = authority.issue("expired", days=-1), authority.issue("locked", password=b"passphrase")
    for files, key, field, rule in (
        (expired, expired.key, "CASAFLOW_TEMPORAL_TLS_CERT", "must not have expired; it did at "),
        (good, other.key, "CASAFLOW_TEMPORAL_TLS_KEY", f"must be the key of the certificate in {good.cert}"),
        (locked, locked.key, "CASAFLOW_TEMPORAL_TLS_KEY", "must be a private key in PEM without a passphrase"),
    ):
        found = refused(settings(tmp_path, temporal_tls_cert=files.cert, temporal_tls_key=key))
        assert found[0] == field
        assert found[1].startswith(rule)


def test_on_another_machine_payloads_need_keys_unless_somebody_says_otherwise(tmp_path: Path) -> None:
    for address in ("temporal.bank:7233", "10.0.0.1:7233"):
        assert refused(settings(tmp_path, temporal_address=address))[0] == "CASAFLOW_PAYLOAD_KEYS"
        assert access_of(settings(tmp_path, temporal_address=address, payload_encryption="off")).data_converter.payload_codec is None
        assert access_of(settings(tmp_path, temporal_address=address, payload_keys=new_entry("k"))).data_converter.payload_codec
    for address in ("127.0.0.1:7233", "localhost:7233", "[::1]:7233"):
        assert access_of(settings(tmp_path, temporal_address=address)).data_converter.payload_codec is None
    assert refused(settings(tmp_path, payload_encryption="required")) == (
        "CASAFLOW_PAYLOAD_KEYS",
        "must be set: CASAFLOW_PAYLOAD_ENCRYPTION is `required`",
    )


@pytest.mark.parametrize("way", ["setting", "file", "home"])
def test_keys_from_a_setting_a_file_or_the_home_encrypt_payloads_and_failures(tmp_path: Path, way: str) -> None:
    keys = tmp_path / ("payload_keys" if way == "home" else "keys")
    keys.write_text(f"{new_entry('b')}\n{new_entry('a')}\n")
    ways: dict[str, dict[str, Any]] = {"setting": {"payload_keys": new_entry("b")}, "file": {"payload_keys_file": keys}, "home": {}}
    converter = access_of(settings(tmp_path, **ways[way])).data_converter
    assert isinstance(converter.payload_codec, EncryptingCodec)
    assert converter.failure_converter_class is DefaultFailureConverterWithEncodedAttributes


def test_a_key_is_given_in_one_way_only(tmp_path: Path) -> None:
    found = refused(settings(tmp_path, payload_keys=new_entry("a"), payload_keys_file=tmp_path / "keys"))
    assert found == ("CASAFLOW_PAYLOAD_KEYS", "must not be set beside CASAFLOW_PAYLOAD_KEYS_FILE")
