"""No secret is in any log: not at the most talkative level, not when servers refuse, not when a request that carries one fails."""

from __future__ import annotations

import asyncio
import base64
import signal
import typing
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from pydantic import SecretStr

from infra.settings import ALL_GROUPS, Settings
from tests.integration.api.bank import Bank, until
from tests.integration.observed.processes import Installation, Process
from tests.stack_fixtures import RunningStack

CANARY = "Never-To-Be-Logged-5d1c"
KEY = base64.b64encode(b"never to be logged, by nobody at")[:43].decode() + "="
TALKATIVE = {"CASAFLOW_LOG_LEVEL": "DEBUG"}


def _secret_settings() -> set[str]:
    """The settings that hold a secret, by their types."""
    hints = typing.get_type_hints(Settings)
    return {name for name in Settings.model_fields if SecretStr in (hints[name], *typing.get_args(hints[name]))}


def _canaries(dsn: str) -> dict[str, str]:
    """A secret for each setting that holds one; the database's is refused by the server."""
    parts = urlsplit(dsn)
    return {
        "postgres_url": parts._replace(netloc=f"{parts.username}:{CANARY}@{parts.hostname}:{parts.port}").geturl(),
        "temporal_api_key": CANARY,
        "payload_keys": f"k1:{KEY}",
        "kafka_sasl_password": CANARY,
        "command_secrets": f"{CANARY}, {CANARY}-which-is-the-older-one".replace(CANARY, CANARY * 2),
        "smtp_password": CANARY,
    }


def test_each_secret_has_a_canary_and_none_is_shown_with_the_settings(stack: RunningStack, monkeypatch: pytest.MonkeyPatch) -> None:
    canaries = _canaries(stack.postgres_dsn)
    assert set(canaries) == _secret_settings()
    for name, value in canaries.items():
        monkeypatch.setenv(f"CASAFLOW_{name.upper()}", value)
    settings = Settings()
    for shown in (repr(settings), str(settings), settings.model_dump_json()):
        assert CANARY not in shown
        assert KEY not in shown


PROCESSES = {
    "worker": (("-m", "worker"), "worker.waiting"),
    "api": (("-m", "starter.api"), "Uvicorn running"),
    "relay": (("-m", "infra.relay"), "relay.not-now"),
    "consumers": (("-m", "consumers", *ALL_GROUPS), "consumer."),
}


async def test_processes_whose_servers_refuse_them_name_no_secret(installation: Installation, stack: RunningStack) -> None:
    kafka = {
        "CASAFLOW_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "CASAFLOW_KAFKA_SASL_MECHANISM": "SCRAM-SHA-256",
        "CASAFLOW_KAFKA_SASL_USERNAME": "somebody",
    }
    canaries = {f"CASAFLOW_{name.upper()}": value for name, value in _canaries(stack.postgres_dsn).items()}
    environment = {**canaries, **kafka, **TALKATIVE}
    started = {name: installation.start(*arguments, environment=environment) for name, (arguments, _) in PROCESSES.items()}
    for name, (_, said) in PROCESSES.items():
        await until(_says(started[name], said))
    async with httpx.AsyncClient(trust_env=False, base_url=installation.api_url, headers={"Authorization": f"Bearer {CANARY}"}) as http:
        assert (await http.get("/v1/accounts/nobody")).status_code in {401, 503}
        assert (await http.get("/readyz")).status_code == 503
    await _end(started.values())
    for process in started.values():
        written = process.log.read_text()
        assert "password authentication failed" in written or process is not started["worker"], "nobody refused it, so this proves nothing"
        assert CANARY not in written, process.log
        assert KEY not in written, process.log


async def test_requests_that_carry_secrets_leave_none_in_the_log(
    installation: Installation, postgres_url: str, bank: Bank, stack: RunningStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASAFLOW_LOG_LEVEL", "DEBUG")
    api = await installation.api()
    made = await bank.http.post("/v1/keys", json={"principal": "teller", "scopes": ["read"]})
    assert made.status_code == 201, made.text
    key = made.json()["key"]
    rotated = (await bank.http.post(f"/v1/keys/{made.json()['key_id']}/rotate", json={"overlap_seconds": 60})).json()["key"]
    webhook = {
        "accounts": ["a"],
        "webhook_url": "https://hooks.example/",
        "webhook_secret": f"whsec_{base64.b64encode(CANARY.encode()).decode()}",
    }
    for body in (webhook, {**webhook, "accounts": "not a list"}):
        await bank.http.put("/v1/customers/somebody/notifications", json=body)
    for bearer in (key, rotated, CANARY):
        await bank.http.get("/v1/accounts/nobody", headers={"Authorization": f"Bearer {bearer}"})
        # Where no key is expected, one that was put there must not be remembered either.
        await bank.http.get(f"/v1/accounts/nobody?api_key={CANARY}")
    await _end([api])
    written = api.log.read_text()
    assert "/v1/keys" in written, "the requests were not logged at all, so this proves nothing"
    for secret in (CANARY, key, rotated, base64.b64encode(CANARY.encode()).decode(), stack.api_key):
        assert secret not in written
    assert str(urlsplit(postgres_url).password) not in written


def test_no_part_of_the_stack_has_logged_a_secret_of_it(stack: RunningStack) -> None:
    assert stack.home is not None
    password = urlsplit(stack.postgres_dsn).password
    assert password
    secrets = {stack.api_key, password, (stack.home / "command_secret").read_text().strip()}
    logs = sorted((stack.home / "logs").glob("*.log"))
    assert {log.stem for log in logs} >= {"api", "worker", "relay", "consumers", "postgres", "temporal", "kafka"}
    found = [(log.name, secret[:4]) for log in logs for secret in secrets if secret.encode() in _content(log)]
    assert found == []


def _says(process: Process, words: str) -> Callable[[], bool]:
    def said() -> bool:
        assert process.process.poll() is None, process.log.read_text()
        return words in process.log.read_text()

    return said


async def _end(processes: typing.Iterable[Process]) -> None:
    for process in processes:
        process.process.send_signal(signal.SIGTERM)
    await asyncio.gather(*(process.ended() for process in processes))


def _content(log: Path) -> bytes:
    return log.read_bytes()
