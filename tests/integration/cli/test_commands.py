from __future__ import annotations

import asyncio
import json
import uuid

import pytest

from tests.integration.api.bank import Bank, assert_problem
from tests.integration.cli.conftest import CommandLine
from tests.stack_fixtures import RunningStack


async def test_account_is_opened_shown_and_has_a_balance(cli: CommandLine) -> None:
    account = f"A{uuid.uuid4().hex[:16]}"
    arguments = ("account", "open", account, "EUR", "--kind", "savings", "--overdraft-limit", "5.00", "--json")
    opened = await cli.run_apart(*arguments)
    assert (opened.code, opened.err) == (0, "")
    assert (opened.json["account_id"], opened.json["kind"], opened.json["overdraft_limit"]) == (account, "savings", "5.00")
    again = await cli.run(*arguments)
    shown = await cli.run("account", "show", account, "--json")
    assert (again.code, again.json, shown.json) == (0, opened.json, opened.json)
    balance = await cli.run("balance", account, "--json")
    assert (balance.code, balance.json["ledger"], balance.json["available"]) == (0, "0.00", "5.00")
    for command in (("account", "show", account), ("balance", account)):
        plain = await cli.run(*command)
        assert plain.code == 0
        assert account in plain.out
        with pytest.raises(json.JSONDecodeError):
            json.loads(plain.out)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("account", "open", "A1", "XXX"), "currency must be an ISO 4217 currency code with a minor unit, such as EUR; it is 'XXX'"),
        (("account", "open", "a b", "EUR"), "account_id must be 1 to 34 letters"),
        (("account", "open", "A1", "EUR", "--kind", "gold"), "kind: Input should be 'current' or 'savings'; it is 'gold'"),
        (("account", "open", "A1", "EUR", "--overdraft-limit", "-1"), "overdraft_limit must be greater than zero; it is '-1'"),
        (("account", "show", ""), "account_id must be 1 to 34 letters"),
        (("balance", ".."), "account_id must be 1 to 34 letters"),
        (("balance", "Nobody"), "no account 'Nobody'"),
        (("balance",), "Missing argument"),
        (("submit", "none.csv"), "none.csv: No such file or directory"),
        (("submit", "none.csv", "--in-flight", "0"), "Input should be greater than or equal to 1"),
        (("balance", "A1", "--api-url", "localhost:8080"), "api_url must be a URL such as http://127.0.0.1:8080; it is 'localhost:8080'"),
        (("balance", "A1", "--api-key", "wrong"), "send a valid API key"),
        (("key", "create", " "), "principal must be 1 to 140 printable characters; it is ' '"),
        (("key", "create", "p" * 141), "principal must be 1 to 140 printable characters"),
        (("key", "create", "alice", "--tenant", ""), "tenant must be 1 to 64 letters"),
        (("key", "create", "alice", "--tenant", "a/b"), "tenant must be 1 to 64 letters"),
        (("key", "revoke", "0000"), "no API key '0000'"),
        (("no-such-command",), "No such command"),
    ],
)
async def test_bad_input_is_named_and_ends_with_2(cli: CommandLine, arguments: tuple[str, ...], complaint: str) -> None:
    ended = await cli.run(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert complaint in " ".join(ended.err.replace("\u2502", " ").split())
    assert "Traceback" not in ended.err


async def test_other_content_under_an_account_id_ends_with_2(cli: CommandLine, bank: Bank) -> None:
    account = await bank.open()
    ended = await cli.run_apart("account", "open", account, "USD")
    assert ended.code == 2
    assert f"account {account} exists already" in ended.err


async def test_setting_that_is_no_number_is_named_and_ends_with_2(cli: CommandLine) -> None:
    ended = await cli.having(CASAFLOW_POSTGRES_POOL_SIZE="many").run("key", "create", "alice")
    assert ended.code == 2
    assert "CASAFLOW_POSTGRES_POOL_SIZE: Input should be a valid integer" in ended.err


@pytest.mark.parametrize(
    ("arguments", "change", "complaint"),
    [
        (("balance", "A1"), {"CASAFLOW_API_URL": "http://127.0.0.1:1"}, "the API does not answer"),
        (("key", "create", "alice"), {"CASAFLOW_POSTGRES_URL": "postgresql://x:secret@127.0.0.1:1/x"}, "postgres is not available"),
    ],
)
async def test_server_that_is_away_ends_with_3(
    cli: CommandLine, arguments: tuple[str, ...], change: dict[str, str], complaint: str
) -> None:
    ended = await cli.having(**change).run_apart(*arguments)
    assert (ended.code, ended.out) == (3, "")
    assert complaint in ended.err
    assert "secret" not in ended.err


async def test_nothing_configured_and_nothing_running_ends_with_3(cli: CommandLine) -> None:
    servers = ("CASAFLOW_API_URL", "CASAFLOW_API_KEY", "CASAFLOW_POSTGRES_URL")
    bare = CommandLine({name: value for name, value in cli.environment.items() if name not in servers})
    for arguments in (("balance", "A1"), ("submit", "x.csv"), ("key", "create", "alice")):
        ended = await bare.run(*arguments)
        assert ended.code == 3
        assert "nothing runs in" in ended.err


async def test_key_is_made_used_and_ended(cli: CommandLine, bank: Bank) -> None:
    account = await bank.open()
    made = await cli.run_apart("key", "create", "new teller", "--tenant", bank.tenant, "--json")
    assert made.code == 0
    assert (made.json["tenant"], made.json["principal"]) == (bank.tenant, "new teller")
    own = cli.having(CASAFLOW_API_KEY=made.json["key"])
    assert (await own.run("balance", account)).code == 0
    headers = {"Authorization": f"Bearer {made.json['key']}"}
    body = {"creditor": account, "amount": "1.00", "currency": "EUR"}
    assert (await bank.submit(body, headers=headers)).json()["submitted_by"] == "new teller"
    for _ in range(2):  # revoking twice changes nothing
        assert (await cli.run("key", "revoke", made.json["key_id"])).code == 0
    async with asyncio.timeout(60):  # the API may know the key for CASAFLOW_KEY_CACHE_SECONDS
        while (refused := await own.run("balance", account)).code == 0:
            pass
    assert (refused.code, refused.out) == (2, "")
    assert_problem(await bank.submit(body, headers=headers), 401, "unauthenticated")
    assert await bank.ledger(account) == "1.00"


async def test_key_of_another_tenant_sees_no_account_of_ours(cli: CommandLine, bank: Bank) -> None:
    account = await bank.open()
    made = await cli.run("key", "create", "stranger", "--tenant", f"{bank.tenant}-x", "--json")
    ended = await cli.having(CASAFLOW_API_KEY=made.json["key"]).run("balance", account)
    assert ended.code == 2
    assert f"no account '{account}'" in ended.err


async def test_status_tells_every_part(stack: RunningStack) -> None:
    shown = await CommandLine(stack.environment()).run("status", "--json")
    assert shown.code == 0
    assert shown.json["healthy"] is True
    assert {"postgres", "temporal", "kafka", "worker", "api"} <= {part["name"] for part in shown.json["parts"]}
    assert {part["health"] for part in shown.json["parts"]} <= {"healthy", "outside"}
    assert stack.api_key not in shown.out
    plain = await CommandLine(stack.environment()).run_apart("status")
    assert plain.code == 0
    assert "worker" in plain.out
    assert f"transactions parked: {stack.temporal_ui}/namespaces/default/workflows?query=" in plain.out
    for name in shown.json["stack"]["views"]:
        assert f"\ntransactions {name}: " in plain.out


async def test_status_of_nothing_ends_with_1(cli: CommandLine) -> None:
    ended = await cli.run("status", "--json")
    assert ended.code == 1
    assert ended.json == {"healthy": False, "parts": [], "groups": [], "stack": None}


async def test_transaction_is_shown_and_reversed(cli: CommandLine, bank: Bank) -> None:
    account = await bank.open(funds="10.00")
    original = (await bank.submit({"creditor": account, "amount": "5.00", "currency": "EUR"})).json()
    shown = await cli.run("transaction", "show", original["transaction_id"], "--json")
    assert (shown.code, shown.json) == (0, original)
    part = await cli.run("transaction", "reverse", original["transaction_id"], "--amount", "2.00", "--reference", "wrong amount", "--json")
    assert (part.code, part.json["status"], part.json["reference"]) == (0, "completed", "wrong amount")
    rest = await cli.run("transaction", "reverse", original["transaction_id"])
    assert rest.code == 0
    assert original["transaction_id"] in rest.out
    assert "hold_id" not in rest.out
    above = await cli.run("transaction", "reverse", original["transaction_id"], "--amount", "0.01", "--json")
    assert (above.code, above.json["reason"]["code"]) == (1, "reversal-exceeds-original")
    assert await bank.ledger(account) == "10.00"
    for arguments, complaint in ((("show", "17"), "must be a UUID"), (("reverse", str(uuid.uuid4())), "no transaction")):
        refused = await cli.run("transaction", *arguments)
        assert (refused.code, refused.out) == (2, "")
        assert complaint in refused.err
