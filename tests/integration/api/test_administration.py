"""A tenant's administrators: its keys, and who did what."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.scopes import Scope
from tests.integration.api.bank import Bank, Records, assert_problem, bank_at
from tests.stack_fixtures import RunningStack


async def _acts(bank: Bank, limit: int = 100) -> list[dict[str, Any]]:
    acts: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        query: dict[str, str | int] = {"limit": limit, **({"cursor": cursor} if cursor else {})}
        page = await bank.http.get("/v1/administrative-acts", params=query)
        assert page.status_code == 200, page.text
        assert len(page.json()["acts"]) <= limit
        acts += page.json()["acts"]
        cursor = page.json()["next_cursor"]
        if cursor is None:
            return acts


async def test_an_administrator_makes_rotates_and_revokes_keys(stack: RunningStack) -> None:
    async with bank_at(stack.api, stack.postgres_dsn, principal="chief") as bank:
        made = await bank.http.post(
            "/v1/keys", json={"principal": "branch 7", "scopes": ["holds:write", "read"], "expires_at": "2030-01-01T00:00:00Z"}
        )
        assert made.status_code == 201, made.text
        content = made.json()
        assert (content["principal"], content["scopes"], content["created_by"]) == ("branch 7", ["read", "holds:write"], "chief")
        old = {"Authorization": f"Bearer {content['key']}"}
        assert (await bank.http.get("/v1/standing-orders", headers=old)).status_code == 200
        assert_problem(await bank.http.get("/v1/keys", headers=old), 403, "missing-scope")
        for no_number in (True, "60"):
            refused = await bank.http.post(f"/v1/keys/{content['key_id']}/rotate", json={"overlap_seconds": no_number})
            assert_problem(refused, 422, "invalid-input")
        rotated = await bank.http.post(f"/v1/keys/{content['key_id']}/rotate", json={"overlap_seconds": 3_600})
        assert rotated.status_code == 201, rotated.text
        new = {"Authorization": f"Bearer {rotated.json()['key']}"}
        for headers in (old, new):
            assert (await bank.http.get("/v1/standing-orders", headers=headers)).status_code == 200
        revoked = await bank.http.post(f"/v1/keys/{content['key_id']}/revoke")
        assert (revoked.status_code, revoked.json()["state"]) == (200, "revoked")
        # In the process that answered at once, although it knew the key.
        assert_problem(await bank.http.get("/v1/standing-orders", headers=old), 401, "unauthenticated")
        assert (await bank.http.get("/v1/standing-orders", headers=new)).status_code == 200
        again = await bank.http.post(f"/v1/keys/{content['key_id']}/rotate")
        assert_problem(again, 409, "key-not-valid")
        listed = (await bank.http.get("/v1/keys", params={"limit": 1})).json()
        assert [key["key_id"] for key in listed["keys"]] == [rotated.json()["key_id"]]
        rest = (await bank.http.get("/v1/keys", params={"cursor": listed["next_cursor"]})).json()
        assert [key["key_id"] for key in rest["keys"]] == [content["key_id"], bank.key.split("_")[1]]
        assert rest["next_cursor"] is None
        for answer in (await bank.http.get("/v1/keys"), await bank.http.get("/v1/administrative-acts")):
            for key in (content["key"], rotated.json()["key"], bank.key):
                assert key[-43:] not in answer.text


async def test_nobody_gives_what_he_does_not_have(bank: Bank, stack: RunningStack) -> None:
    scopes = (Scope.ADMIN, Scope.READ)
    async with bank_at(stack.api, stack.postgres_dsn, tenant=bank.tenant, principal="clerk", scopes=scopes) as clerk:
        for wanted in ("all", "standard", "transactions:approve", "holds:write", "payloads"):
            refused = await clerk.http.post("/v1/keys", json={"principal": "clerk", "scopes": ["read", wanted]})
            assert_problem(refused, 403, "missing-scope")
        assert_problem(await clerk.http.post(f"/v1/keys/{bank.key.split('_')[1]}/rotate"), 403, "missing-scope")
        assert (await clerk.http.post("/v1/keys", json={"principal": "clerk", "scopes": ["accounts:read"]})).status_code == 201
    assert_problem(await bank.http.post("/v1/keys", json={"principal": "x", "scopes": ["payloads"]}), 403, "missing-scope")


@pytest.mark.parametrize(
    "wrong",
    [
        {"principal": "x", "scopes": []},
        {"principal": "x", "scopes": ["everything"]},
        {"principal": " ", "scopes": ["read"]},
        {"principal": "x", "scopes": ["read"], "expires_at": "2001-01-01T00:00:00Z"},
        {"principal": "x", "scopes": ["read"], "expires_at": "2300-01-01T00:00:00Z"},
        {"principal": "x", "scopes": ["read"], "tenant": "another"},
    ],
)
async def test_a_key_that_breaks_a_rule_is_not_made(bank: Bank, wrong: dict[str, Any]) -> None:
    assert_problem(await bank.http.post("/v1/keys", json=wrong), 422, "invalid-input")


async def test_each_act_is_recorded_with_who_and_what(stack: RunningStack, records: Records) -> None:
    async with bank_at(stack.api, stack.postgres_dsn, principal="chief") as bank:
        account = await bank.open(funds="10.00")
        await bank.open()
        assert (await bank.http.post("/v1/accounts", json={"account_id": account, "currency": "EUR"})).status_code == 200  # no second act
        assert (await bank.http.patch(f"/v1/accounts/{account}", json={"overdraft_limit": "5.00"})).status_code == 200
        assert (await bank.http.post(f"/v1/accounts/{account}/freeze", json={"side": "debits"})).status_code == 200
        assert (await bank.http.post(f"/v1/accounts/{account}/close")).status_code == 409  # it has money: nothing was done
        acts = await _acts(bank, limit=2)
    shown = [(act["action"], act["subject"]) for act in reversed(acts)]
    assert shown[0] == ("account.opened", f"account {account}")
    assert shown[2:] == [("account.changed", f"account {account}")] * 2
    assert len({act["act_id"] for act in acts}) == len(acts) == 4
    key_id = bank.key.split("_")[1]
    assert {(act["tenant"], act["by"], act["key_id"], act["address"]) for act in acts} == {(bank.tenant, "chief", key_id, "127.0.0.1")}
    limits = [(act["detail"]["before"]["overdraft_limit"], act["detail"]["after"]["overdraft_limit"]) for act in acts[:2]]
    assert limits == [(500, 500), (0, 500)]
    assert (acts[0]["detail"]["before"]["status"], acts[0]["detail"]["after"]["status"]) == ("active", "debit-frozen")
    # Changes of accounts have a table of their own, and stand nowhere else.
    assert records.one("SELECT count(*) FROM administrative_act WHERE tenant = %s", bank.tenant) == 2


async def test_a_cursor_of_another_kind_is_refused(bank: Bank) -> None:
    for path in ("/v1/keys", "/v1/administrative-acts"):
        for cursor in ("x", "", "bnVsbA", "WzEsMl0", "WyJhIiwiYiJd", "é"):
            assert_problem(await bank.http.get(path, params={"cursor": cursor}), 422, "invalid-input")
