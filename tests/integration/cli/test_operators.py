"""`casaflow transaction retry`, `settle` and `reverse` move on what stands parked, and `explain` tells who did what and why."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest

from infra.temporal.client import connect
from ledger.ids import settlement_id, workflow_id
from tests.integration.api.bank import Bank, bank_at
from tests.integration.api.saga import api_process
from tests.integration.cli.conftest import CommandLine
from tests.integration.defects import credits_are_refused
from tests.stack_fixtures import RunningStack
from tests.workflow.conftest import eventually


@pytest.fixture(scope="module")
async def saga_api(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """An API that posts transfers leg by leg, so that one can park between them."""
    async with api_process(stack, tmp_path_factory.mktemp("operators") / "api.log", TRANSFERS="saga") as url:
        yield url


@pytest.fixture(scope="module")
async def saga_bank(saga_api: str, stack: RunningStack) -> AsyncIterator[Bank]:
    async with bank_at(saga_api, stack.postgres_dsn) as opened:
        yield opened


@pytest.fixture(scope="module")
def operator(cli: CommandLine, saga_bank: Bank, saga_api: str) -> CommandLine:
    return cli.having(CASAFLOW_API_URL=saga_api, CASAFLOW_API_KEY=saga_bank.key)


async def _parked(bank: Bank, creditor: str) -> tuple[str, str]:
    """The id of a transfer that parks at its credit, which the database refuses; and its debtor."""
    debtor, transaction_id = await bank.open(funds="100.00"), str(uuid.uuid4())
    body = {"transaction_id": transaction_id, "debtor": debtor, "creditor": creditor, "amount": "12.50", "currency": "EUR"}
    await bank.park(body)
    return transaction_id, debtor


async def test_a_retry_that_helps_ends_with_0_and_one_that_does_not_with_1_and_both_are_explained(
    operator: CommandLine, saga_bank: Bank, stack: RunningStack
) -> None:
    creditor = await saga_bank.open()
    with credits_are_refused(stack, "account_id", creditor):
        transaction_id, debtor = await _parked(saga_bank, creditor)
        too_early = await operator.run("transaction", "retry", transaction_id, "--reason", "hoping", "--json")
        assert (too_early.code, too_early.json["status"]) == (1, "parked"), too_early.err
    retried = await operator.run("transaction", "retry", transaction_id, "--reason", "constraint taken away")
    assert retried.code == 0, retried.err
    assert "completed" in retried.out
    assert (await saga_bank.ledger(debtor), await saga_bank.ledger(creditor)) == ("87.50", "12.50")
    explained = await operator.run("explain", transaction_id, "--json")
    actions = [moment["what"] for moment in explained.json["timeline"] if moment["part"] == "operator"]
    assert len(actions) == 2
    assert all("retry" in action and "teller" in action for action in actions)
    assert ["hoping" in actions[0], "constraint taken away" in actions[1]] == [True, True]
    again = await operator.run("transaction", "retry", transaction_id, "--reason", "once more")
    assert (again.code, again.out) == (2, "")


async def test_settling_credits_the_other_account_and_the_explanation_names_it(
    operator: CommandLine, saga_bank: Bank, stack: RunningStack
) -> None:
    creditor, other = await saga_bank.open(), await saga_bank.open()
    with credits_are_refused(stack, "account_id", creditor):
        transaction_id, _ = await _parked(saga_bank, creditor)
        wrong = await operator.run("transaction", "settle", transaction_id, "--to", creditor, "--reason", "agreed")
        assert wrong.code == 2
        assert "another account than debtor and creditor" in wrong.err
        settled = await operator.run("transaction", "settle", transaction_id, "--to", other, "--reason", "agreed", "--json")
    assert (settled.code, settled.json["status"]) == (0, "completed"), settled.err
    assert (await saga_bank.ledger(other), await saga_bank.ledger(creditor)) == ("12.50", "0.00")
    told = await operator.run("explain", transaction_id)
    (line,) = [line for line in told.out.splitlines() if "teller: settle_to" in line]
    assert other in line
    assert f"account {other}: +12.50 EUR" in told.out
    assert "agreed" in line


async def test_reversing_what_is_parked_gives_the_money_back_and_needs_a_reason(
    operator: CommandLine, saga_bank: Bank, stack: RunningStack
) -> None:
    creditor = await saga_bank.open()
    with credits_are_refused(stack, "account_id", creditor):
        transaction_id, debtor = await _parked(saga_bank, creditor)
        silent = await operator.run("transaction", "reverse", transaction_id)
        assert silent.code == 2
        assert "reason must be given" in silent.err
        reversed_ = await operator.run("transaction", "reverse", transaction_id, "--reason", "asked by the debtor", "--json")
    assert (reversed_.code, reversed_.json["status"]) == (0, "reversed"), reversed_.err
    assert await saga_bank.ledger(debtor) == "100.00"


async def test_a_command_reaches_the_run_that_settles_what_a_terminated_workflow_left(
    operator: CommandLine, saga_bank: Bank, stack: RunningStack
) -> None:
    creditor = await saga_bank.open()
    temporal = await connect(stack.temporal_settings)
    with credits_are_refused(stack, "account_id", creditor):
        transaction_id, _ = await _parked(saga_bank, creditor)
        await temporal.get_workflow_handle(workflow_id(saga_bank.tenant, transaction_id)).terminate()
        # Nobody carries it until it is swept, and that is what an operator hears.
        early = await operator.run("transaction", "retry", transaction_id, "--reason", "now")
        assert (early.code, "is not parked" in early.err) == (2, True), early.err
        swept = await operator.run("sweep", "--older-than", "0", "--json")
        assert transaction_id in swept.out, swept.err
        settlement = temporal.get_workflow_handle(settlement_id(saga_bank.tenant, transaction_id))

        async def stands_parked() -> bool:
            shown = await settlement.query("current")
            return bool(shown["status"] == "parked")

        await eventually(stands_parked, seconds=60)
    retried = await operator.run("transaction", "retry", transaction_id, "--reason", "mended", "--json")
    assert (retried.code, retried.json["status"]) == (0, "completed"), retried.err
    assert await saga_bank.ledger(creditor) == "12.50"
