"""Each view, at the width of a phone and of a desk, light and dark: filled, not cut off, accessible, and nothing asked of anybody else."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from axe_playwright_python.async_playwright import Axe

from tests.console.conftest import NASTY, Scene, Scheme, Screen, Screens

PHONE, DESK = 360, 1280
SERIOUS = {"serious", "critical"}


def views_of(scene: Scene) -> dict[str, str]:
    return {
        "/": "Overview",
        "/transactions": "Transactions",
        f"/transactions?account_id={scene.anna}": "Transactions",
        f"/transactions/{scene.transfer}": "Transfer of",
        f"/transactions/{scene.waiting}": "Transfer of",
        f"/accounts/{scene.anna}": "Account",
        "/accounts": "Accounts",
        "/attention": "Needs attention",
        "/consumers": "Consumers",
    }


async def serious_findings(screen: Screen) -> list[str]:
    found = await Axe().run(screen.page)
    violations: list[dict[str, Any]] = found.response["violations"]
    return [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in violations if each["impact"] in SERIOUS]


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (PHONE, "light"),
        (DESK, "dark"),
        pytest.param(PHONE, "dark", marks=pytest.mark.slow),
        pytest.param(DESK, "light", marks=pytest.mark.slow),
    ],
)
async def test_every_view_is_filled_fits_is_accessible_and_asks_nobody_else(
    screens: Screens, scene: Scene, width: int, scheme: Scheme
) -> None:
    screen = await screens.open(scene.bank.key, width=width, scheme=scheme)
    for view, heading in views_of(scene).items():
        await screen.go(view)
        assert heading in await screen.page.inner_text("main h1"), view
        assert await screen.page.locator(".failure:visible").count() == 0, view
        assert await screen.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{view} is wider than {width} px"
        assert await serious_findings(screen) == [], view
    assert screen.elsewhere() == []
    assert screen.complaints == []


async def test_signing_in_is_accessible_and_a_refused_key_is_told_of_and_forgotten(screens: Screens) -> None:
    screen = await screens.open(None, width=PHONE)
    await screen.page.get_by_label("API key").fill("casaflow_0123456789abcdef_" + "x" * 43)
    await screen.page.keyboard.press("Enter")
    await screen.page.get_by_role("alert").filter(has_text="refused").wait_for()
    assert await serious_findings(screen) == []
    assert await screen.page.evaluate("sessionStorage.length + localStorage.length") == 0


async def test_key_in_the_address_is_taken_out_of_it_and_kept_for_the_tab_alone(screens: Screens, scene: Scene) -> None:
    screen = await screens.open(scene.bank.key)
    assert scene.bank.key not in screen.page.url
    assert await screen.page.evaluate("history.length") <= 2
    kept = await screen.page.evaluate("[Object.values(sessionStorage), Object.values(localStorage), document.cookie]")
    assert kept == [[scene.bank.key], [], ""]
    assert [url for url in screen.requests if scene.bank.key in url.partition("#")[0]] == []
    await screen.page.get_by_role("button", name="Sign out").click()
    await screen.page.get_by_label("API key").wait_for()
    assert await screen.page.evaluate("sessionStorage.length") == 0


async def test_text_of_a_customer_stays_text(screens: Screens, scene: Scene) -> None:
    screen = await screens.open(scene.bank.key)
    for view in views_of(scene):
        await screen.go(view)
        assert await screen.page.locator("main img, main script, main iframe").count() == 0, view
    await screen.go(f"/transactions/{scene.transfer}")
    assert (await screen.page.inner_text("main")).count(NASTY) >= 3, "the texts are not shown at all"
    # An id in an address is a text that anybody may have written.
    await screen.go(f"/accounts/{quote(NASTY, safe='')}")
    await screen.page.get_by_role("alert").first.wait_for()
    assert await screen.page.evaluate("window.hurt") is None
    assert screen.elsewhere() == []


async def test_markup_would_not_run_even_if_it_came_in(screens: Screens, scene: Scene) -> None:
    screen = await screens.open(scene.bank.key)
    refused = await screen.page.evaluate(
        """() => {
            const script = document.createElement("script");
            try { script.text = "window.hurt = 1"; document.body.append(script); } catch { return "refused"; }
            return window.hurt ?? "not run";
        }"""
    )
    assert refused in {"refused", "not run"}
    assert (
        await screen.page.evaluate("() => { try { document.body.innerHTML = '<b>x</b>'; return 'done' } catch { return 'refused' } }")
        == "refused"
    )


async def test_focus_goes_to_the_heading_of_a_new_view_and_the_title_names_it(screens: Screens, scene: Scene) -> None:
    screen = await screens.open(scene.bank.key)
    await screen.page.get_by_role("link", name="Consumers").click()
    await screen.page.wait_for_function("() => document.activeElement.tagName === 'H1'")
    assert await screen.page.title() == "Consumers \u2013 casaflow"
    assert await screen.page.get_by_role("link", name="Consumers").get_attribute("aria-current") == "page"


async def test_nothing_moves_for_whoever_wants_no_motion(screens: Screens, scene: Scene) -> None:
    screen = await screens.open(scene.bank.key, reduced_motion="reduce")
    await screen.go("/transactions")
    await screen.page.evaluate("document.querySelector('tbody tr').classList.add('fresh')")
    assert await screen.page.evaluate("getComputedStyle(document.querySelector('tbody tr')).animationName") == "none"
