"""`casaflow maintain` and `refold` as an operator runs them."""

from __future__ import annotations

from tests.integration.api.bank import Bank
from tests.integration.cli.conftest import CommandLine


async def test_maintenance_says_what_it_did_in_words_and_as_json(cli: CommandLine, bank: Bank) -> None:
    await bank.open("EUR")
    done = await cli.run("maintain", "--once", "--json")
    assert (done.code, done.err) == (0, "")
    assert done.json["accounts"] >= 1
    assert set(done.json) >= {"folded_credits", "checkpoints", "expired_holds", "longest_tail"}
    assert done.json["metrics"]["last_run_seconds_ago"] >= 0
    assert done.json["metrics"]["oldest_writer_xids"] >= 0
    shown = await cli.run("maintain")
    assert shown.code == 0
    assert "accounts looked at" in shown.out
    both = await cli.run("maintain", "--once", "--every", "5")
    assert both.code == 2


async def test_a_ledger_that_is_the_clusters_own_is_not_refolded(cli: CommandLine) -> None:
    done = await cli.run("refold", "--json")
    assert (done.code, done.json["refolded"], done.json["credits"]) == (0, False, 0)
    assert done.json["cluster"] == done.json["earlier_cluster"]
    shown = await cli.run("refold")
    assert shown.out.startswith("nothing to do: the ledger belongs to this cluster")


async def test_without_a_server_both_say_so(cli: CommandLine) -> None:
    nowhere = CommandLine({name: value for name, value in cli.environment.items() if name != "CASAFLOW_POSTGRES_URL"})
    for command in ("maintain", "refold"):
        ended = await nowhere.run(command)
        assert ended.code == 3
        assert "nothing runs in" in ended.err
