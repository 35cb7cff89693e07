"""Access tokens at the API: an issuer's real keys over HTTP, and what is left of a token or a key afterwards."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from infra.temporal.client import connect
from ledger.ids import workflow_id
from tests.integration.api.bank import Bank, assert_problem, bank_at
from tests.integration.api.saga import api_process
from tests.stack_fixtures import RunningStack
from tests.unit.oauth.issuer import AUDIENCE, NAME, Issuer
from tests.unit.rates.server import RatesServer, answers


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer("RS256")


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokens") / "api.log"


@pytest.fixture(scope="module")
async def bank(stack: RunningStack, log: Path, issuer: Issuer) -> AsyncIterator[Bank]:
    async with RatesServer() as server:
        server.answer = answers(issuer.jwks)
        issuers = json.dumps([{"issuer": NAME, "audience": AUDIENCE, "jwks": server.url}])
        async with (
            api_process(stack, log, OAUTH_ISSUERS=issuers) as api,
            bank_at(api, stack.postgres_dsn) as opened,
        ):
            yield opened


def _with(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_a_token_does_what_its_scopes_say_for_its_tenant(bank: Bank, issuer: Issuer) -> None:
    account = await bank.open(funds="10.00")
    token = issuer.token(tenant=bank.tenant, sub="jana", scope="openid transactions:write accounts:read")
    sent = await bank.submit({"debtor": account, "amount": "1.00", "currency": "EUR"}, headers=_with(token))
    assert (sent.json()["status"], sent.json()["submitted_by"]) == ("completed", "jana")
    assert (await bank.http.get(f"/v1/accounts/{account}", headers=_with(token))).status_code == 200
    refused = await bank.http.post(f"/v1/accounts/{account}/freeze", headers=_with(token))
    assert "accounts:write" in assert_problem(refused, 403, "missing-scope")["detail"]
    assert refused.headers["WWW-Authenticate"] == 'Bearer realm="casaflow", error="insufficient_scope", scope="accounts:write"'
    nothing = issuer.token(tenant=bank.tenant, scope="openid profile")
    assert_problem(await bank.http.get("/v1/event-types", headers=_with(nothing)), 403, "forbidden")


async def test_another_tenants_token_sees_no_account_of_ours(bank: Bank, issuer: Issuer) -> None:
    account = await bank.open()
    stranger = _with(issuer.token(tenant=f"{bank.tenant}-x", scope="all"))
    theirs, nobodys = [await bank.http.get(f"/v1/accounts/{name}", headers=stranger) for name in (account, "nobodys")]
    assert (theirs.status_code, theirs.text.replace(account, "nobodys")) == (404, nobodys.text)


async def test_a_token_that_opens_nothing_says_why_and_how_to_come_in(bank: Bank, issuer: Issuer) -> None:
    for token, why in (
        (issuer.token(tenant=bank.tenant, exp=1), "expired"),
        (issuer.token(tenant=bank.tenant, aud="another"), "audience"),
        (issuer.token(tenant=None), "tenant"),
        ("not-a-key", "neither"),
    ):
        refused = await bank.http.get("/v1/event-types", headers=_with(token))
        assert why in assert_problem(refused, 401, "unauthenticated")["detail"]
        assert refused.headers["WWW-Authenticate"] == 'Bearer realm="casaflow", error="invalid_token"'
        assert token[-20:] not in refused.text
    async with httpx.AsyncClient(base_url=bank.http.base_url, trust_env=False) as anyone:
        assert (await anyone.get("/v1/event-types")).headers["WWW-Authenticate"] == 'Bearer realm="casaflow"'


async def test_what_an_administrator_with_a_token_does_is_recorded_with_the_tokens_id(bank: Bank, issuer: Issuer) -> None:
    admin = _with(issuer.token(tenant=bank.tenant, sub="chief", scope="admin read", jti="t-42"))
    made = await bank.http.post("/v1/keys", json={"principal": "clerk", "scopes": ["read"]}, headers=admin)
    assert made.status_code == 201, made.text
    act = (await bank.http.get("/v1/administrative-acts", params={"limit": 1}, headers=admin)).json()["acts"][0]
    assert (act["action"], act["by"], act["key_id"]) == ("key.created", "chief", "token:t-42")
    more = await bank.http.post("/v1/keys", json={"principal": "clerk", "scopes": ["holds:write"]}, headers=admin)
    assert_problem(more, 403, "missing-scope")


async def test_no_key_and_no_token_is_left_in_logs_errors_or_temporal(bank: Bank, issuer: Issuer, stack: RunningStack, log: Path) -> None:
    token = issuer.token(tenant=bank.tenant, scope="all")
    made = (await bank.http.post("/v1/keys", json={"principal": "clerk", "scopes": ["all"]})).json()["key"]
    shown: list[httpx.Response] = []
    account = await bank.open()
    histories = ""
    temporal = await connect(stack.temporal_settings)
    for credential in (token, made, f"{made[:-1]}-", f"{token[:-9]}AAAAAAAAA"):
        sent = await bank.submit({"creditor": account, "amount": "1.00", "currency": "EUR"}, headers=_with(credential))
        shown += [sent, await bank.http.post("/v1/transactions", json={"creditor": 5}, headers=_with(credential))]
        if sent.status_code < 300:
            history = await temporal.get_workflow_handle(workflow_id(bank.tenant, sent.json()["transaction_id"])).fetch_history()
            histories += "".join(event.SerializeToString().decode("latin-1") for event in history.events)
    assert histories.count("TransactionWorkflow") >= 2  # what was looked at is there
    written = await asyncio.to_thread(log.read_text)
    assert "api.answered" in written
    for secret in (token.rpartition(".")[2], token.split(".")[1], made[-43:], bank.key[-43:]):
        assert not any(secret in answer.text for answer in shown)
        assert secret not in written
        assert secret not in histories
