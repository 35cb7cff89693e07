from __future__ import annotations

import pytest

from tests.integration.api.bank import Bank, assert_problem


async def test_rate_is_the_newest_on_or_before_the_date(bank: Bank) -> None:
    # 2 January 1999 was a Saturday; the first fixing after the euro's start was on Monday the 4th. 5 June 2020 was a Friday.
    friday = (await bank.http.get("/v1/rates?base=EUR&quote=USD&date=2020-06-05")).json()
    sunday = (await bank.http.get("/v1/rates?base=EUR&quote=USD&date=2020-06-07")).json()
    assert friday == sunday
    assert (friday["base"], friday["quote"], friday["rate"], friday["as_of"]) == ("EUR", "USD", "1.133", "2020-06-05")
    assert "ECB" in friday["source"]


@pytest.mark.parametrize("query", ["base=EUR&quote=USD&date=1998-12-31", "base=EUR&quote=BHD", "base=USD&quote=EUR&date=9999-12-31"])
async def test_rate_that_no_transaction_may_use_is_not_found(bank: Bank, query: str) -> None:
    assert_problem(await bank.http.get(f"/v1/rates?{query}"), 404, "not-found")
