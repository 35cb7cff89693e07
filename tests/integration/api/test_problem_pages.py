from __future__ import annotations

import httpx

from tests.integration.api.bank import Bank, assert_problem
from tests.stack_fixtures import RunningStack


async def test_type_of_a_problem_leads_to_its_page_without_a_key(stack: RunningStack, bank: Bank) -> None:
    found = assert_problem(await bank.http.get("/v1/accounts/NOBODY"), 404, "not-found")
    async with httpx.AsyncClient(base_url=stack.api, trust_env=False, timeout=30) as anyone:
        page = await anyone.get(found["type"])
        assert page.headers["content-type"] == "application/json"
        assert (page.json()["code"], page.json()["title"], page.json()["status"]) == ("not-found", found["title"], 404)
        assert page.json()["example"]["type"] == found["type"]
        as_html = await anyone.get(found["type"], headers={"Accept": "text/html,*/*;q=0.8"})
        assert as_html.headers["content-type"].startswith("text/html")
        assert "What to do" in as_html.text
        codes = [each["code"] for each in (await anyone.get("/problems")).json()["problems"]]
        assert "insufficient-funds" not in codes  # a result of a transaction, and no problem
        assert len(codes) > 30
        assert 'href="/problems/not-found"' in (await anyone.get("/problems", headers={"Accept": "text/html"})).text
        assert_problem(await anyone.get("/problems/nonsense"), 404, "not-found")
        assert_problem(await anyone.get("/problems%2f../v1/accounts"), 404, "not-found")
