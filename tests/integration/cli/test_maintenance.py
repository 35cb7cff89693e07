"""`casaflow maintain` and `refold` as an operator runs them."""

from __future__ import annotations

from infra.temporal.client import connect
from ledger.ids import standing_order_schedule_id
from tests.integration.api.bank import Bank
from tests.integration.cli.conftest import CommandLine
from tests.stack_fixtures import RunningStack
from tests.workflow.conftest import eventually


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


async def test_maintenance_makes_the_schedule_of_a_standing_order_that_was_deleted_by_hand(
    cli: CommandLine, bank: Bank, stack: RunningStack
) -> None:
    debtor, creditor = await bank.open(funds="100.00"), await bank.open()
    order = ("standing-order", "create", debtor, creditor, "12.50", "EUR", "--frequency", "monthly", "--start-date", "2094-01-31", "--json")
    order_id = (await cli.run(*order)).json["order_id"]
    client = await connect(stack.temporal_settings)
    identifier = standing_order_schedule_id(bank.tenant, order_id)
    await client.get_schedule_handle(identifier).delete()

    async def is_listed(*, there: bool) -> bool:
        return (identifier in {listed.id async for listed in await client.list_schedules()}) is there

    await eventually(lambda: is_listed(there=False), seconds=30)
    done = await cli.run("maintain", "--json")
    assert (done.code, done.err) == (0, "")
    assert done.json["mended_standing_orders"] >= 1
    await client.get_schedule_handle(identifier).describe()
    await eventually(lambda: is_listed(there=True), seconds=30)
    assert " Schedules of standing orders mended" in (await cli.run("maintain")).out


async def test_maintenance_of_a_database_without_temporal_says_that_standing_orders_were_left_out(cli: CommandLine) -> None:
    alone = CommandLine({name: value for name, value in cli.environment.items() if name != "CASAFLOW_TEMPORAL_ADDRESS"})
    done = await alone.run("maintain")
    assert (done.code, "standing orders not looked at, since CASAFLOW_TEMPORAL_ADDRESS is not set" in done.out) == (0, True)
    assert (await alone.run("maintain", "--json")).json["mended_standing_orders"] is None


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
