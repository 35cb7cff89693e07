"""The Compose file, as Docker Compose itself reads it."""

from __future__ import annotations

import json
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from infra.settings import ALL_GROUPS, Settings
from tests.deploy.conftest import DEPLOY, OBSERVABILITY, Tool, load, succeeded

COMPOSE = DEPLOY / "compose"
OURS = "casaflow:0.1.0"


@cache
def _services() -> dict[str, Any]:
    """What stands in the file, with merges done; variables as they are written."""
    services: dict[str, Any] = load(COMPOSE / "compose.yaml")["services"]
    return services


def _of_casaflow() -> dict[str, Any]:
    return {name: service for name, service in _services().items() if "CASAFLOW_IMAGE" in service["image"]}


@pytest.fixture(scope="module")
def resolved(tool: Tool) -> dict[str, Any]:
    """As `docker compose config` prints it, with the values of `.env.example`."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    files = ["--file", COMPOSE / "compose.yaml", "--env-file", COMPOSE / ".env.example"]
    done = tool("docker-compose", *files, "--profile", "*", "config", "--format", "json", environment=environment)
    assert "variable is not set" not in done.stderr, done.stderr
    services: dict[str, Any] = json.loads(succeeded(done))["services"]
    return services


@pytest.mark.deploy
def test_compose_reads_the_file_and_every_variable_has_a_value(resolved: dict[str, Any]) -> None:
    assert set(resolved) == set(_services())
    assert resolved["api"]["image"] == OURS
    assert resolved["worker"]["deploy"]["replicas"] == 2


@pytest.mark.deploy
def test_every_published_port_is_on_loopback(resolved: dict[str, Any]) -> None:
    ports = {name: service["ports"] for name, service in resolved.items() if "ports" in service}
    assert {"api", "temporal-ui", "prometheus", "grafana"} <= set(ports)
    assert {port["host_ip"] for each in ports.values() for port in each} == {"127.0.0.1"}


@pytest.mark.deploy
def test_casaflow_understands_the_settings_of_each_of_its_services(resolved: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _of_casaflow():
        environment = {key: str(value) for key, value in (resolved[name]["environment"] or {}).items() if value is not None}
        known = {f"CASAFLOW_{field.upper()}" for field in Settings.model_fields} | {"CASAFLOW_API_URL"}
        assert {key for key in environment if key.startswith("CASAFLOW_")} <= known, name
        with monkeypatch.context() as patched:
            for key, value in environment.items():
                if key != "CASAFLOW_SECRETS_DIR":
                    patched.setenv(key, value)
            assert Settings().temporal_address == "temporal:7233", name


def test_nothing_runs_with_more_rights_than_it_needs() -> None:
    for name, service in _services().items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "cap_add" not in service, name
        assert not service.get("privileged"), name
    for name, service in _of_casaflow().items():
        assert service["read_only"] is True, name
        assert service["user"] == "10001:10001", name


def test_no_secret_stands_in_an_environment() -> None:
    for name, service in _services().items():
        for key, value in (service.get("environment") or {}).items():
            secret = any(word in key for word in ("PASSWORD", "SECRETS", "PAYLOAD_KEYS", "POSTGRES_URL", "POSTGRES_PWD", "TOKEN"))
            assert not secret or str(value).startswith("/run/secrets"), f"{name}: {key}"


def test_every_group_has_its_service_and_only_the_migration_and_the_administrator_are_the_owner() -> None:
    services = _of_casaflow()
    groups = {service["command"][1] for service in services.values() if service["command"][0] == "consumer"}
    assert groups == set(ALL_GROUPS)
    owners = {name for name, service in services.items() if any(secret["source"] == "owner_url" for secret in service["secrets"])}
    assert owners == {"migrate", "admin"}


def test_every_process_waits_for_what_it_needs_and_says_how_it_is() -> None:
    services = _services()
    waiting = {name: service.get("depends_on", {}) for name, service in services.items()}
    for name, service in _of_casaflow().items():
        if name in {"migrate", "promote", "admin"}:
            assert service["healthcheck"] == {"disable": True}, name
        else:
            assert waiting[name]["migrate"] == {"condition": "service_completed_successfully"}, name
            assert service["healthcheck"]["test"] == ["CMD", "healthcheck"], name
            assert service["environment"]["HEALTHCHECK_URL"].startswith("http://127.0.0.1:"), name
    for needs in waiting.values():
        for needed, how in needs.items():
            if how["condition"] == "service_healthy":
                assert "test" in services[needed]["healthcheck"], needed
    assert waiting["promote"] == {"worker": {"condition": "service_healthy"}}


def test_an_acknowledged_event_is_on_two_of_three_brokers() -> None:
    brokers = {name: service["environment"] for name, service in _services().items() if name.startswith("kafka-")}
    assert sorted(broker["KAFKA_NODE_ID"] for broker in brokers.values()) == [1, 2, 3]
    for broker in brokers.values():
        assert broker["KAFKA_DEFAULT_REPLICATION_FACTOR"] == broker["KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR"] == 3
        assert broker["KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR"] == 3
        assert broker["KAFKA_MIN_INSYNC_REPLICAS"] == broker["KAFKA_TRANSACTION_STATE_LOG_MIN_ISR"] == 2
        assert broker["KAFKA_UNCLEAN_LEADER_ELECTION_ENABLE"] == broker["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_what_is_mounted_is_there_and_prometheus_scrapes_services_that_exist() -> None:
    for name, service in _services().items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert not source.startswith(".") or (COMPOSE / source).exists(), f"{name}: {source}"
    scraped = load(OBSERVABILITY / "prometheus" / "prometheus.yml")["scrape_configs"]
    hosts = {host for job in scraped for found in job.get("dns_sd_configs", []) for host in found["names"]}
    hosts |= {target.partition(":")[0] for job in scraped for found in job.get("static_configs", []) for target in found["targets"]}
    assert hosts - {"localhost"} <= set(_services())
    assert {f"consumer-{group}" for group in ALL_GROUPS} | {"api", "worker"} <= hosts


def test_secrets_are_made_once_and_are_what_casaflow_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "make-secrets.sh"
    script.write_bytes((COMPOSE / "make-secrets.sh").read_bytes())
    for _ in range(2):
        subprocess.run(["/bin/sh", str(script)], check=True, capture_output=True)
        made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
        first = locals().get("first", made)
    assert made == first
    assert set(made) == set(load(COMPOSE / "compose.yaml")["secrets"])
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0
    assert made["postgres_teller"].strip() in made["teller_url"]
    folder = tmp_path / "mounted"
    folder.mkdir()
    for name, target in (("teller_url", "POSTGRES_URL"), ("command_secrets", "COMMAND_SECRETS"), ("payload_keys", "PAYLOAD_KEYS")):
        (folder / f"CASAFLOW_{target}").write_text(made[name])
    monkeypatch.setenv("CASAFLOW_SECRETS_DIR", str(folder))
    settings = Settings()
    assert settings.signing_secrets
    assert settings.postgres_url is not None
    assert settings.payload_keys is not None
    from infra.temporal.access import payload_keys  # noqa: PLC0415  the only test here that loads it

    assert payload_keys(settings)
