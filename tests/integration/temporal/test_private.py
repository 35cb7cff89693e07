"""With keys, Temporal and whoever reads it see ids and codes, and nothing of accounts, amounts or names."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from google.protobuf.json_format import MessageToDict
from pydantic import SecretStr
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError

from infra.settings import Settings
from infra.temporal.client import connect
from infra.temporal.encryption import new_entry
from ledger.commands import RETRY
from ledger.results import TransactionStatus
from tests.integration.defects import credits_are_refused
from tests.integration.faults.bank import Bank, Handle
from tests.integration.temporal.codec import CodecServer, codec_server
from tests.integration.temporal.conftest import MakeWorker, OpenBank
from tests.integration.temporal.test_versions import _parked
from tests.stack_fixtures import RunningStack
from tests.workflow.conftest import eventually
from tests.workflow.operators import command
from workflows.transaction import TransactionWorkflow

OLD, NEW = new_entry("2026-10"), new_entry("2026-11")


@pytest.fixture
def keyed(settings: Settings) -> Settings:
    return settings.model_copy(update={"payload_keys": SecretStr(NEW), "worker_deployment": None})


@pytest.fixture
async def bank(open_bank_with: OpenBank, keyed: Settings) -> Bank:
    opened: Bank = await open_bank_with(keyed)
    return opened


def _in_clear(content: Any) -> list[str]:
    """Every text and payload, base64 undone where it is some; but for search attributes, which the server has to compare."""
    if isinstance(content, dict):
        return [text for name, value in content.items() if name != "searchAttributes" for text in _in_clear(value)]
    if isinstance(content, list):
        return [text for element in content for text in _in_clear(element)]
    text = str(content)
    try:
        return [text, base64.b64decode(text, validate=True).decode("utf-8", errors="replace")]
    except ValueError:
        return [text]


async def _seen_by_a_stranger(stack: RunningStack, handle: Handle) -> str:
    """History and description as somebody without keys gets them."""
    stranger = (await Client.connect(stack.temporal_address)).get_workflow_handle(handle.id)
    history = (await stranger.fetch_history()).to_json_dict()
    description = MessageToDict((await stranger.describe()).raw_description)
    return "\n".join(_in_clear([history, description]))


async def test_a_stranger_finds_neither_accounts_nor_amounts_nor_summaries_in_a_history(
    bank: Bank, stack: RunningStack, make_worker: MakeWorker
) -> None:
    async with await make_worker(bank):
        handle: Handle = await bank._start(debtor="E1", creditor="C1", amount="4.09")
        assert (await handle.result()).status is TransactionStatus.COMPLETED
    seen = await _seen_by_a_stranger(stack, handle)
    assert "casa.post" in seen  # activity types can be read: they tell nothing of anybody
    # In quotes, as JSON has them: two characters alone stand in base64 and in ciphertext sooner or later.
    for private in ('"E1"', '"C1"', "4.09", '"minor_units"', "debit ", "Transfer of", "tests-submitter", bank.submitted[0].fingerprint):
        assert private not in seen, private
    bank.assert_each_transaction_completed_once()


async def test_what_a_failure_says_is_encrypted_too_and_its_type_can_still_be_filtered(
    bank: Bank, stack: RunningStack, make_worker: MakeWorker
) -> None:
    with credits_are_refused(stack, "tenant", bank.tenant):
        async with await make_worker(bank):
            handle: Handle = await bank._start(creditor="E1", amount="1.01")
            with pytest.raises(WorkflowFailureError) as failed:
                await handle.result()
    assert isinstance(failed.value.cause, ApplicationError)
    said = failed.value.cause.message
    assert "defect_" in said
    seen = await _seen_by_a_stranger(stack, handle)
    assert "LedgerIntegrityError" in seen
    assert "Encoded failure" in seen
    assert said not in seen
    assert "defect_" not in seen


async def test_a_parked_transaction_goes_on_after_its_key_was_rotated(
    open_bank_with: OpenBank, stack: RunningStack, keyed: Settings, make_worker: MakeWorker
) -> None:
    bank: Bank = await open_bank_with(keyed.model_copy(update={"payload_keys": SecretStr(OLD)}))
    async with await make_worker(bank):
        begun = await _parked(bank, stack)
    rotated = SecretStr(f"{NEW},{OLD}")
    client = await connect(keyed.model_copy(update={"payload_keys": rotated}))
    handle: Handle = client.get_workflow_handle_for(TransactionWorkflow.run, begun.id)
    async with await make_worker(bank, payload_keys=rotated):
        await command(handle, RETRY)
        assert (await handle.result()).status is TransactionStatus.COMPLETED
    seen = await _seen_by_a_stranger(stack, handle)
    assert {"2026-10", "2026-11"} <= set(seen.splitlines())


async def test_a_worker_without_the_key_changes_nothing_and_one_with_it_carries_on(
    bank: Bank, stack: RunningStack, make_worker: MakeWorker
) -> None:
    async with await make_worker(bank, payload_keys=SecretStr(OLD)):
        handle: Handle = await bank._start(creditor="E1", amount="1.01")
        await eventually(lambda: _failed_a_task(handle), seconds=60)
    async with await make_worker(bank):
        assert (await handle.result()).status is TransactionStatus.COMPLETED
    bank.assert_each_transaction_completed_once()


async def _failed_a_task(handle: Handle) -> bool:
    return any(event.HasField("workflow_task_failed_event_attributes") for event in (await handle.fetch_history()).events)


async def _shown(stack: RunningStack, handle: Handle, *options: str) -> str:
    """What `temporal workflow show` prints."""
    command = [str(Path(sysconfig.get_path("scripts")) / "temporal"), "workflow", "show", "--workflow-id", handle.id, "--output", "json"]
    arguments = [*command, "--address", stack.temporal_address, *options]
    done = await asyncio.to_thread(subprocess.run, arguments, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


async def test_the_temporal_command_shows_payloads_to_who_has_a_key_of_the_codec_server_and_to_nobody_else(
    bank: Bank, stack: RunningStack, make_worker: MakeWorker
) -> None:
    async with await make_worker(bank):
        handle: Handle = await bank._start(debtor="E1", creditor="E2", amount="3.07")
        await handle.result()
    async with codec_server(stack, payload_keys=NEW) as server:
        endpoint = ("--codec-endpoint", server.url)
        decoded = await _shown(stack, handle, *endpoint, "--codec-auth", f"Bearer {server.key}")
        assert '"account_id":"E1"' in "".join(_in_clear(json.loads(decoded)))
        without_server = "".join(_in_clear(json.loads(await _shown(stack, handle))))
        assert "binary/encrypted" in without_server
        assert "account_id" not in without_server
        # The command takes a refusal for something that passes, and tries again until its time is up.
        for options in ((), ("--codec-auth", f"Bearer {server.api_key}")):
            refused = await _shown(stack, handle, *endpoint, *options, "--command-timeout", "3s")
            assert refused.startswith("Error: "), refused


async def test_the_codec_server_answers_pages_of_the_web_ui_and_of_nobody_else(bank: Bank, stack: RunningStack) -> None:
    ui = "http://temporal.example:8233"
    async with codec_server(stack, payload_keys=f"{NEW},{OLD}", origins=ui) as server:
        sealed = await _sealed(server)
        preflight = await server.http.options("/decode", headers={"Origin": ui, "Access-Control-Request-Method": "POST"})
        assert (preflight.status_code, preflight.headers["Access-Control-Allow-Origin"]) == (204, ui)
        assert preflight.headers["Access-Control-Allow-Credentials"] == "true"
        assert "x-namespace" in preflight.headers["Access-Control-Allow-Headers"]
        answer = await server.decode(sealed, {"Origin": ui, "X-Namespace": "default"})
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, ui)
        assert base64.b64decode(answer.json()["payloads"][0]["data"]) == b'"private"'
        for origin in ("http://evil.example", "null", "http://temporal.example:8234"):
            foreign = await server.decode(sealed, {"Origin": origin})
            assert (foreign.status_code, foreign.json()["code"]) == (403, "forbidden-origin")
            assert "Access-Control-Allow-Origin" not in foreign.headers
            assert (await server.http.options("/decode", headers={"Origin": origin})).status_code == 403


async def _sealed(server: CodecServer) -> dict[str, Any]:
    clear = {"payloads": [{"metadata": {"encoding": _base64(b"json/plain")}, "data": _base64(b'"private"')}]}
    answer = await server.http.post("/default/encode", json=clear, headers=server.bearer)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    assert base64.b64decode(content["payloads"][0]["metadata"]["encoding"]) == b"binary/encrypted"
    return content


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


async def test_a_browser_that_was_given_the_key_decodes_by_its_cookie_until_the_key_is_revoked(bank: Bank, stack: RunningStack) -> None:
    ui = "http://temporal.example:8233"
    async with codec_server(stack, payload_keys=NEW, origins=ui) as server:
        sealed = await _sealed(server)
        assert (await server.http.post("/decode", json=sealed, headers={"Origin": ui})).status_code == 401
        assert (await server.http.post("/session", data={"key": server.api_key})).status_code == 401
        assert (await server.http.post("/session", data={"key": server.key}, headers={"Origin": "http://evil.example"})).status_code == 403
        opened = await server.http.post("/session", data={"key": server.key})
        assert opened.status_code == 303
        assert {"httponly", "samesite=strict"} <= set(opened.headers["Set-Cookie"].lower().split("; "))
        assert (await server.http.post("/decode", json=sealed, headers={"Origin": ui})).status_code == 200
        with psycopg.connect(stack.postgres_dsn, autocommit=True) as database:
            database.execute("UPDATE api_key SET revoked_at = now() WHERE key_id = %s", [server.key.split("_")[1]])
        assert (await server.http.post("/decode", json=sealed, headers={"Origin": ui})).status_code == 401


async def test_the_codec_server_says_what_is_wrong(bank: Bank, stack: RunningStack) -> None:
    async with codec_server(stack, payload_keys=NEW) as server:
        sealed = await _sealed(server)
        for path, body, headers, status, code in (
            ("/decode", b"{", {}, 400, "malformed"),
            ("/decode", b'{"payloads": 1}', {}, 400, "malformed"),
            ("/other", b"{}", {}, 404, "not-found"),
            ("/decode", json.dumps(sealed).encode(), {"X-Namespace": "elsewhere"}, 404, "not-found"),
            ("/decode", b" " * (16 * 1024 * 1024 + 1), {}, 413, "too-large"),
        ):
            answer = await server.http.post(path, content=body, headers={**server.bearer, **headers})
            assert (answer.status_code, answer.json()["code"]) == (status, code)
        sealed["payloads"][0]["metadata"]["encryption-key-id"] = _base64(b"lost")
        lost = await server.decode(sealed, {})
        assert (lost.status_code, lost.json()["code"]) == (422, "undecryptable-payload")
        assert "'lost'" in lost.json()["detail"]


async def test_a_key_for_payloads_opens_nothing_else(bank: Bank, stack: RunningStack) -> None:
    async with codec_server(stack, payload_keys=NEW) as server, httpx.AsyncClient(base_url=stack.api, trust_env=False) as api:
        answer = await api.get("/v1/accounts/E1", headers=server.bearer)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
