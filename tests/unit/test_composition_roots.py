"""Whatever posts or reads for customers turns into the application's role before its first statement."""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

import pytest

import worker
from consumers.__main__ import consume
from infra.kafka.connection import KafkaConnection
from infra.postgres.database import Database
from infra.relay import main as relay_main
from infra.relay import relay_until_signalled
from infra.settings import Settings
from starter.api.application import create_app

SETTINGS: dict[str, Any] = {
    "postgres_url": "postgresql://somebody@nowhere/casaflow",
    "temporal_address": "nowhere:7233",
    "payload_encryption": "off",
    "kafka_bootstrap_servers": "nowhere:9092",
}


class _OpenedError(Exception):
    """The process was about to open its pool."""


@pytest.fixture
def roles(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    opened: list[object] = []

    def record(_url: str, **options: object) -> NoReturn:
        opened.append(options["role"])
        raise _OpenedError

    monkeypatch.setattr(Database, "open", record)
    return opened


async def _start_api(settings: Settings) -> None:
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        pass


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ["casaflow_app", "casaflow_app", "casaflow_consumer", "casaflow_relay"]),
        ({"postgres_role": "teller"}, ["teller"] * 4),
        ({"postgres_role": ""}, [None] * 4),
    ],
)
async def test_every_process_runs_as_its_role(
    roles: list[object], given: dict[str, str], expected: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CASAFLOW_POSTGRES_ROLE", raising=False)
    settings = Settings.model_validate({**SETTINGS, **given})
    starts = [
        worker.run(settings, asyncio.Event()),
        _start_api(settings),
        consume(["audit"], settings, servers=KafkaConnection("nowhere:9092"), postgres_url="postgresql://nowhere"),
        relay_until_signalled(settings, servers=KafkaConnection("nowhere:9092"), postgres_url="postgresql://nowhere"),
    ]
    for start in starts:
        with pytest.raises(_OpenedError):
            await start
    assert roles == expected


@pytest.mark.parametrize(
    ("wrong", "value", "rule"),
    [
        ("CASAFLOW_POSTGRES_URL", None, "must be set"),
        ("CASAFLOW_KAFKA_BOOTSTRAP_SERVERS", None, "must be set"),
        ("CASAFLOW_RELAY_AFTER_SECONDS", "0", "must be above 0 for a relay"),
    ],
)
def test_a_relay_that_can_not_work_says_why_and_ends(
    wrong: str, value: str | None, rule: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CASAFLOW_POSTGRES_URL", "postgresql://nobody@127.0.0.1:1/nowhere")
    monkeypatch.setenv("CASAFLOW_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    if value is None:
        monkeypatch.delenv(wrong)
    else:
        monkeypatch.setenv(wrong, value)
    assert relay_main() == 2
    said = "".join(capfd.readouterr())
    assert wrong in said
    assert rule in said
