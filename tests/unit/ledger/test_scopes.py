from __future__ import annotations

import datetime as dt

import pytest

from ledger.cursors import cursor_behind, position_of, printable_id
from ledger.errors import InvalidInputError, MissingScopeError
from ledger.keys import check_expiry, check_may_give, parse_duration
from ledger.principals import Principal
from ledger.scopes import Scope, granted, parse_scopes

NOW = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
READING = {"read", "accounts:read", "transactions:read", "notifications:read", "events:read", "mis:read"}


def test_all_is_everything_of_a_tenant_and_payloads_are_of_all_tenants() -> None:
    assert granted(("all",)) == set(Scope) - {"payloads"}
    assert granted(("payloads",)) == {"payloads"}


def test_standard_means_what_it_meant() -> None:
    """Everything but approving and overriding, decision record 0015; to administer came later, and isn't in it."""
    assert granted(("standard",)) == set(Scope) - {"all", "payloads", "transactions:approve", "transactions:override", "admin"}


@pytest.mark.parametrize("scope", ["read", "transactions:approve", "transactions:override"])
def test_keys_that_could_look_still_can(scope: str) -> None:
    assert granted((scope,)) == READING | {scope}


@pytest.mark.parametrize("scope", sorted(set(Scope) - {"all", "standard", "read", "transactions:approve", "transactions:override"}))
def test_any_other_scope_is_only_itself(scope: str) -> None:
    assert granted((scope,)) == {scope}


def test_several_scopes_add_up_and_an_unknown_one_opens_nothing() -> None:
    assert granted(("holds:write", "mis:read", "nonsense")) == {"holds:write", "mis:read", "nonsense"}


def test_one_of_the_needed_scopes_is_enough() -> None:
    principal = Principal(tenant="t", name="n", scopes=("holds:write",), key_id="k")
    principal.require("transactions:write", "holds:write")
    with pytest.raises(MissingScopeError, match="transactions:write or mis:read"):
        principal.require("transactions:write", "mis:read")
    with pytest.raises(MissingScopeError):
        principal.require()  # an endpoint that declares nothing opens for nobody


def test_scopes_of_a_key_are_known_ones_each_once_in_one_order() -> None:
    assert parse_scopes(["mis:read", "all", "mis:read"], field="scope") == ("all", "mis:read")
    for wrong in ([], ["everything"], ["read", ""]):
        with pytest.raises(InvalidInputError):
            parse_scopes(wrong, field="scope")


def test_nobody_gives_more_than_he_has() -> None:
    check_may_give(("all",), ("standard", "admin", "transactions:approve"))
    check_may_give(("read", "admin"), ("mis:read",))
    for giver, given in ((("all",), ("payloads",)), (("standard",), ("all",)), (("admin",), ("read",)), (("mis:read",), ("read",))):
        with pytest.raises(MissingScopeError):
            check_may_give(giver, given)


@pytest.mark.parametrize(("text", "hours"), [("24h", 24), ("90d", 2_160), ("90m", 1.5), ("0s", 0)])
def test_durations(text: str, hours: float) -> None:
    assert parse_duration(text, field="x") == dt.timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "h", "24", "1.5h", "-1h", "1w", "24 h", "1000000d", "٣h"])
def test_no_durations(text: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_duration(text, field="x")


def test_a_key_expires_in_the_future_and_within_ten_years() -> None:
    check_expiry(None, now=NOW, field="x")
    check_expiry(NOW + dt.timedelta(days=3_660), now=NOW, field="x")
    for wrong in (NOW, NOW - dt.timedelta(days=1), NOW + dt.timedelta(days=3_661)):
        with pytest.raises(InvalidInputError):
            check_expiry(wrong, now=NOW, field="x")


def test_a_cursor_is_read_as_it_was_given_and_no_other_is() -> None:
    at = dt.datetime(2030, 1, 1, 12, 0, 0, 1, tzinfo=dt.UTC)
    cursor = cursor_behind(at, "account/účet/1")
    rule = "must be next_cursor of a page of acts"
    assert position_of(cursor, rule, identified_by=printable_id) == (at, "account/účet/1")
    for wrong in ("", "x", f"{cursor}=", f"{cursor} ", cursor_behind(at, "a\x00b"), "WzEsMl0", "é"):
        with pytest.raises(InvalidInputError, match="next_cursor of a page of acts"):
            position_of(wrong, rule, identified_by=printable_id)
