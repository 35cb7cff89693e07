"""The ratios of the ledger's benchmark: each side is where it belongs."""

from __future__ import annotations

from bench.ledger import CASES, Case, ratios


def test_casaflow_is_compared_with_the_best_rate_that_the_locked_row_reaches() -> None:
    rates = {case.name: 1.0 for case in CASES}
    rates[Case("locked row", "hot debit", 16).name] = 100.0
    rates[Case("group commit", "hot debit", 64).name] = 800.0
    rates[Case("group commit", "hot debit", 256).name] = 1_200.0
    rates[Case("group commit", "hot credit", 256).name] = 1_500.0
    rates[Case("group commit", "spread credit", 256).name] = 1_000.0
    rates[Case("one by one", "hot debit", 1).name] = 30.0
    rates[Case("group commit", "hot debit", 1).name] = 20.0
    found = ratios(rates)
    assert (found["hot_debit_ratio_64"], found["hot_debit_ratio_256"], found["hot_credit_ratio"]) == (8.0, 12.0, 15.0)
    assert found["hot_vs_spread_credit"] == 1.5
    assert found["single_debit_vs_naive_latency"] == 1.5
