"""Each setting about the way to Kafka that can't work is refused by its name, before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.kafka.connection import KafkaConnection, connection_of
from infra.kafka.topics import TopicPolicy, topic_policy_of
from infra.settings import Settings, absolute_files
from ledger.errors import InvalidInputError
from tests.unit.temporal.certificates import Authority

SASL: dict[str, Any] = {
    "kafka_security_protocol": "SASL_SSL",
    "kafka_sasl_mechanism": "SCRAM-SHA-512",
    "kafka_sasl_username": "casaflow",
    "kafka_sasl_password": "secret-password",
}


def settings(**given: Any) -> Settings:
    return Settings.model_validate({"kafka_bootstrap_servers": "kafka.bank:9093", **given})


def test_without_settings_it_is_plain() -> None:
    assert connection_of(settings()).client_options() == {"bootstrap_servers": "kafka.bank:9093", "security_protocol": "PLAINTEXT"}
    assert KafkaConnection.to("kafka.bank:9093") == connection_of(settings())


def test_user_and_password_go_to_the_client_and_nowhere_else() -> None:
    connection = connection_of(settings(**SASL))
    options = connection.client_options()
    assert (options["sasl_mechanism"], options["sasl_plain_username"]) == ("SCRAM-SHA-512", "casaflow")
    assert options["sasl_plain_password"] == "secret-password"
    assert options["ssl_context"].check_hostname
    assert "secret" not in repr(connection)


@pytest.mark.parametrize(
    ("given", "field", "rule"),
    [
        ({"kafka_bootstrap_servers": None}, "BOOTSTRAP_SERVERS", "must be set"),
        ({"kafka_security_protocol": "TLS"}, "SECURITY_PROTOCOL", "must be one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL"),
        ({**SASL, "kafka_sasl_mechanism": "OAUTHBEARER"}, "SASL_MECHANISM", "must be one of SCRAM-SHA-256, SCRAM-SHA-512, PLAIN"),
        ({**SASL, "kafka_sasl_mechanism": None}, "SASL_MECHANISM", "must be set"),
        ({**SASL, "kafka_sasl_username": None}, "SASL_USERNAME", "must be set: CASAFLOW_KAFKA_SECURITY_PROTOCOL is SASL_SSL"),
        ({**SASL, "kafka_sasl_username": ""}, "SASL_USERNAME", "must be set"),
        ({**SASL, "kafka_sasl_password": None}, "SASL_PASSWORD", "must be set"),
        ({**SASL, "kafka_sasl_password": ""}, "SASL_PASSWORD", "must be set"),
        ({**SASL, "kafka_security_protocol": "PLAINTEXT"}, "SECURITY_PROTOCOL", "must be SASL_SSL or SASL_PLAINTEXT while"),
        ({**SASL, "kafka_security_protocol": "SASL_PLAINTEXT", "kafka_sasl_mechanism": "PLAIN"}, "SECURITY_PROTOCOL", "must be SASL_SSL"),
        ({"kafka_tls_ca": "ca.pem"}, "SECURITY_PROTOCOL", "must be SSL or SASL_SSL while CASAFLOW_KAFKA_TLS_CA is set"),
        ({"kafka_security_protocol": "SSL", "kafka_tls_ca": "/nowhere/ca.pem"}, "TLS_CA", "No such file"),
        ({"kafka_security_protocol": "SSL", "kafka_tls_cert": "c.pem"}, "TLS_KEY", "must be set beside CASAFLOW_KAFKA_TLS_CERT"),
    ],
)
def test_what_cannot_work_is_refused_by_its_name(given: dict[str, Any], field: str, rule: str) -> None:
    with pytest.raises(InvalidInputError, match=rule) as found:
        connection_of(settings(**given))
    assert found.value.field == f"CASAFLOW_KAFKA_{field}"
    assert "secret" not in str(found.value)


def test_an_expired_certificate_and_anothers_key_are_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    expired, one, other = authority.issue("expired", days=-1), authority.issue("one"), authority.issue("other")
    for cert, key, field in ((expired.cert, expired.key, "CERT"), (one.cert, other.key, "KEY")):
        with pytest.raises(InvalidInputError) as found:
            connection_of(settings(kafka_security_protocol="SSL", kafka_tls_cert=cert, kafka_tls_key=key))
        assert found.value.field == f"CASAFLOW_KAFKA_TLS_{field}"


@pytest.mark.parametrize(
    ("given", "embedded", "copies", "in_sync"),
    [({}, True, 1, 1), ({}, False, 3, 2), ({"kafka_replication_factor": 2}, False, 2, 1), ({"kafka_min_insync_replicas": 3}, False, 3, 3)],
)
def test_a_topic_has_as_many_copies_as_the_settings_say(given: dict[str, Any], embedded: bool, copies: int, in_sync: int) -> None:
    assert topic_policy_of(settings(**given), embedded=embedded) == TopicPolicy(copies, in_sync, 30)


def test_more_copies_in_step_than_there_are_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"CASAFLOW_KAFKA_MIN_INSYNC_REPLICAS must not be greater than .* 2"):
        topic_policy_of(settings(kafka_replication_factor=2, kafka_min_insync_replicas=3), embedded=False)


def test_a_process_in_another_folder_finds_the_files_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CASAFLOW_KAFKA_TLS_CA", "ca.pem")
    monkeypatch.setenv("CASAFLOW_TEMPORAL_TLS_KEY", "/keys/temporal.key")
    found = absolute_files()
    assert found["CASAFLOW_KAFKA_TLS_CA"] == str(tmp_path / "ca.pem")
    assert found["CASAFLOW_TEMPORAL_TLS_KEY"] == "/keys/temporal.key"
    assert "CASAFLOW_KAFKA_TLS_KEY" not in found
