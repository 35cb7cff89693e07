"""Every client on a broker that asks who is there: what is configured well gets through by each mechanism, and all else is told why not."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from infra.kafka.connection import KafkaConnection, connection_of
from infra.kafka.consumer import ConsumerLoop
from infra.kafka.offsets import end_offsets
from infra.kafka.publisher import KafkaPublisher
from infra.kafka.topics import ensure_topics
from infra.settings import Settings
from ledger.errors import UnavailableError
from tests.integration.kafka.conftest import Seen
from tests.integration.kafka.secured_broker import PASSWORD, SecuredKafka, secured_kafka
from tests.integration.kafka.test_publisher import event
from tests.unit.temporal.certificates import Authority

_WAYS = ("SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN", "MTLS")
_PATIENCE_SECONDS = 10.0


@pytest.fixture(scope="module")
async def broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SecuredKafka]:
    async with secured_kafka(tmp_path_factory.mktemp("secured kafka")) as broker:
        yield broker


@pytest.mark.parametrize("way", _WAYS)
async def test_topics_events_groups_and_offsets_get_through(broker: SecuredKafka, way: str) -> None:
    connection, name = connection_of(broker.settings(way)), f"test.{uuid.uuid4().hex[:12]}"
    await ensure_topics(connection, topics=(name,))
    publisher, seen, sent = KafkaPublisher(connection), Seen(), event(name)
    await publisher.publish([sent])
    await publisher.stop()
    assert sum((await end_offsets(connection, [name])).values()) == 1
    loop = ConsumerLoop(connection, group=f"test-{way}", topics=[name], effects=seen)
    running = asyncio.create_task(loop.run())
    await asyncio.wait_for(seen.changed.wait(), _PATIENCE_SECONDS)
    loop.stop()
    await running
    assert [dict(record.headers)["ce_id"] for record in seen.records] == [sent.event_id.encode()]


def _refusals(broker: SecuredKafka, folder: Path) -> dict[str, tuple[Settings, str]]:
    stranger = Authority(folder, "stranger")
    other = stranger.issue("client")
    plaintext = {"kafka_security_protocol": "PLAINTEXT", "kafka_tls_ca": None}
    no_sasl = {"kafka_sasl_mechanism": None, "kafka_sasl_username": None, "kafka_sasl_password": None}
    no_identity = {"kafka_tls_cert": None, "kafka_tls_key": None}
    return {
        "a wrong password": (broker.settings("SCRAM-SHA-512", kafka_sasl_password="wrong-password"), "CASAFLOW_KAFKA_SASL_PASSWORD"),
        "a wrong password in the clear": (broker.settings("PLAIN", kafka_sasl_password="wrong-password"), "CASAFLOW_KAFKA_SASL_PASSWORD"),
        "nobody's name": (broker.settings("SCRAM-SHA-256", kafka_sasl_username="nobody"), "CASAFLOW_KAFKA_SASL_USERNAME"),
        "an unknown authority": (broker.settings("PLAIN", kafka_tls_ca=stranger.file), "CASAFLOW_KAFKA_TLS_CA"),
        "an authority of the machine's own": (broker.settings("MTLS", kafka_tls_ca=None), "CASAFLOW_KAFKA_TLS_CA"),
        "no certificate": (broker.settings("MTLS", **no_identity), "CASAFLOW_KAFKA_TLS_CERT"),
        "somebody else's certificate": (
            broker.settings("MTLS", kafka_tls_cert=other.cert, kafka_tls_key=other.key),
            "CASAFLOW_KAFKA_TLS_CERT",
        ),
        "no TLS": (broker.settings("MTLS", **plaintext, **no_identity), "CASAFLOW_KAFKA_SECURITY_PROTOCOL"),
        "no SASL": (broker.settings("PLAIN", kafka_security_protocol="SSL", **no_sasl), "CASAFLOW_KAFKA_SECURITY_PROTOCOL"),
        "TLS where none is": (
            broker.settings("PLAIN", kafka_bootstrap_servers=broker.address("internal")),
            "CASAFLOW_KAFKA_SECURITY_PROTOCOL",
        ),
        "SASL where certificates are": (
            broker.settings("PLAIN", kafka_bootstrap_servers=broker.address("mtls")),
            "CASAFLOW_KAFKA_TLS_CERT",
        ),
    }


_CASES = (
    "a wrong password", "a wrong password in the clear", "nobody's name", "an unknown authority", "an authority of the machine's own",
    "no certificate", "somebody else's certificate", "no TLS", "no SASL", "TLS where none is", "SASL where certificates are",
)  # fmt: skip


@pytest.mark.parametrize("case", _CASES)
async def test_what_does_not_fit_is_told_which_setting_to_look_at(broker: SecuredKafka, tmp_path: Path, case: str) -> None:
    settings, named = _refusals(broker, tmp_path)[case]
    connection, began = connection_of(settings), time.monotonic()
    publisher = KafkaPublisher(connection)
    attempts = (
        lambda: ensure_topics(connection, topics=()),
        lambda: end_offsets(connection, ["any"]),
        lambda: publisher.publish([event("any")]),
    )
    for attempt in attempts:
        with pytest.raises(UnavailableError, match=named) as refused:
            await attempt()
        assert "wrong-password" not in str(refused.value)
    await publisher.stop()
    assert time.monotonic() - began < _PATIENCE_SECONDS


async def test_a_group_says_what_keeps_it_away_and_stops_when_asked(
    broker: SecuredKafka, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    connection = connection_of(broker.settings("PLAIN", kafka_sasl_password="wrong-password"))
    loop = ConsumerLoop(connection, group="test-refused", topics=["any"], effects=Seen())
    running = asyncio.create_task(loop.run())
    told = ""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while "CASAFLOW_KAFKA_SASL_PASSWORD" not in told:
            await asyncio.sleep(0.05)
            told += caplog.text + capsys.readouterr().out
    loop.stop()
    await asyncio.wait_for(running, _PATIENCE_SECONDS)
    assert "wrong-password" not in told


@pytest.mark.parametrize("way", ["PLAIN", "SCRAM-SHA-256"])
async def test_no_log_shows_the_password(broker: SecuredKafka, way: str, caplog: pytest.LogCaptureFixture) -> None:
    connection: KafkaConnection = connection_of(broker.settings(way))
    with caplog.at_level(logging.DEBUG):
        await ensure_topics(connection, topics=())
    assert "ApiVersionRequest" in caplog.text, "aiokafka logged nothing of its requests, so this test proves nothing"
    assert PASSWORD not in caplog.text
    assert PASSWORD not in repr(connection)


async def test_the_processes_take_all_of_it_from_the_environment(broker: SecuredKafka) -> None:
    """A consumer as a process: with a wrong setting it ends at once and names it."""
    settings = broker.settings("SCRAM-SHA-256")
    given: dict[str, Any] = {
        "CASAFLOW_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "CASAFLOW_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "CASAFLOW_KAFKA_SASL_MECHANISM": "SCRAM-SHA-256",
        "CASAFLOW_KAFKA_SASL_PASSWORD": PASSWORD,
        "CASAFLOW_POSTGRES_URL": "postgresql://nobody@127.0.0.1:1/nowhere",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "consumers", "audit",
        env={**os.environ, **given}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 2
    assert b"CASAFLOW_KAFKA_SASL_USERNAME must be set: CASAFLOW_KAFKA_SECURITY_PROTOCOL is SASL_SSL" in errors
    assert PASSWORD.encode() not in errors
