"""The ratios of the workflow's benchmark: each side is where it belongs."""

from __future__ import annotations

import pytest

from bench.workflow.cases import CASES, Case, Figures, Side
from bench.workflow.loads import Accounts, What, requests
from bench.workflow.ratios import GOALS, ratios
from ledger.requests import TransactionKind


def everything_is_one() -> dict[str, Figures]:
    return {case.name: dict.fromkeys(("transactions_per_second", "p50_ms", "cpu_ms"), 1.0) for case in CASES}


def test_a_quick_run_tells_every_ratio_that_has_a_goal_first() -> None:
    quick = {case.name for case in CASES if case.quick}
    found = ratios({name: figures for name, figures in everything_is_one().items() if name in quick})
    assert list(found)[: len(GOALS)] == list(GOALS)
    assert set(found.values()) == {1.0}


@pytest.mark.parametrize(
    ("slower", "ratio"),
    [
        (Case(Side.CASAFLOW, 50), "deposit_vs_empty"),
        (Case(Side.CASAFLOW, 50, What.TRANSFER), "transfer_vs_empty"),
        (Case(Side.CASAFLOW, 50), "deposit_vs_plain"),
        (Case(Side.CASAFLOW, 50, What.DEPOSIT, Accounts.ONE), "hot_vs_spread"),
        (Case(Side.CASAFLOW, 50, What.WITHDRAWAL, Accounts.ONE), "hot_vs_spread"),
        (Case(Side.CASAFLOW, 50, What.WITHDRAWAL, Accounts.ONE), "vs_dbos_hot"),
    ],
)
def test_a_ratio_falls_when_casaflow_is_slower(slower: Case, ratio: str) -> None:
    figures = everything_is_one()
    figures[slower.name]["transactions_per_second"] = 0.5
    assert ratios(figures)[ratio] == 0.5


def test_latencies_are_compared_one_at_a_time_so_that_less_is_better() -> None:
    figures = everything_is_one()
    figures[Case(Side.CASAFLOW, 1).name]["p50_ms"] = 3.0
    figures[Case(Side.EMPTY, 1).name]["p50_ms"] = 2.0
    assert ratios(figures)["latency_vs_empty_p50"] == 1.5


def test_a_filtered_run_leaves_out_what_it_can_not_tell() -> None:
    found = ratios({name: figures for name, figures in everything_is_one().items() if "plain" not in name})
    assert "deposit_vs_plain" not in found
    assert "deposit_vs_empty" in found


def test_no_two_cases_share_a_name() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("what", "kind", "currencies"),
    [
        (What.DEPOSIT, TransactionKind.DEPOSIT, {"EUR"}),
        (What.WITHDRAWAL, TransactionKind.WITHDRAWAL, {"EUR"}),
        (What.TRANSFER, TransactionKind.TRANSFER, {"EUR"}),
        (What.CROSS_CURRENCY, TransactionKind.TRANSFER, {"EUR", "USD"}),
    ],
)
@pytest.mark.parametrize(("accounts", "several"), [(Accounts.ONE, False), (Accounts.SPREAD, True)])
def test_a_load_is_what_its_name_says(what: What, kind: TransactionKind, currencies: set[str], accounts: Accounts, several: bool) -> None:
    made = [request for request, _ in zip(requests(what, accounts), range(50), strict=False)]
    assert {request.kind for request in made} == {kind}
    sides = [account for request in made for account in (request.debtor, request.creditor) if account is not None]
    assert {account.currency for account in sides} == currencies
    busy = {account.account_id for account in sides if account.account_id.startswith("bench-")}
    assert (len(busy) > 1) is several
    assert len({request.transaction_id for request in made}) == 50
