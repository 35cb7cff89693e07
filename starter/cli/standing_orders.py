"""`casaflow standing-order`: create, list, show, pause, resume and cancel standing orders."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ledger.calendars import DayShift, Holidays
from ledger.errors import InvalidInputError
from ledger.standing_orders import DEFAULT_TIME, Frequency
from starter.cli.access import ApiKey, ApiUrl, Json, ask, given, show

if TYPE_CHECKING:
    from collections.abc import Callable

OrderId = Annotated[str, typer.Argument(help="The standing order's id, a UUID.")]
Reason = Annotated[str | None, typer.Option(help="Why; recorded with who changes it.")]
_LISTED: Final = ("order_id", "status", "debtor", "creditor", "amount", "currency")


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    orders = typer.Typer(help="Have the same amount transferred on each due date.", no_args_is_help=True)
    app.add_typer(orders, name="standing-order")
    orders.command("create")(order_create)
    orders.command("list")(order_list)
    orders.command("show")(order_show)
    for change, what in (
        ("pause", "Let due dates pass without doing anything, until the order is resumed."),
        ("resume", "Carry the order out from now on. What was due during the pause is not made up for."),
        ("cancel", "End the order for good. A transaction that it has started goes on."),
    ):
        orders.command(change, help=what)(_change_command(change))


def order_create(  # noqa: PLR0913, PLR0917  each is an option
    debtor: Annotated[str, typer.Argument(help="Account that is debited.")],
    creditor: Annotated[str, typer.Argument(help="Account that is credited.")],
    amount: Annotated[str, typer.Argument(help="Such as 12.50.")],
    currency: Annotated[str, typer.Argument(help="ISO 4217 code, such as EUR.")],
    frequency: Annotated[Frequency, typer.Option(help="How often it is due.")],
    start_date: Annotated[str, typer.Option(help="No due date is earlier, such as 2026-01-31.")],
    time_zone: Annotated[str, typer.Option(help="IANA name, such as Europe/Prague.")] = "UTC",
    day: Annotated[int | None, typer.Option(help="Of the week (1: Monday) or of the month (31: the last); else the start date's.")] = None,
    time: Annotated[str | None, typer.Option(help=f"Local time; {DEFAULT_TIME:%H:%M} unless given.")] = None,
    end_date: Annotated[str | None, typer.Option(help="No date of the rhythm is later.")] = None,
    count: Annotated[int | None, typer.Option(help="Due dates at most.")] = None,
    calendar: Annotated[DayShift, typer.Option(help="Where a date goes that is no business day.")] = DayShift.NONE,
    holidays: Annotated[Holidays, typer.Option(help="Which days are no business days.")] = Holidays.TARGET2,
    on_refusal: Annotated[str, typer.Option(help="skip, stop, or retry (with --retry-until and --every).")] = "skip",
    retry_until: Annotated[int | None, typer.Option(help="Hours from the first attempt on.")] = None,
    every: Annotated[int | None, typer.Option(help="Hours between two attempts.")] = None,
    reference: Annotated[str | None, typer.Option(help="Up to 35 characters.")] = None,
    remittance_information: Annotated[str | None, typer.Option(help="Up to 140 characters.")] = None,
    order_id: Annotated[str | None, typer.Option(help="Its id (a UUID); the same id is never entered twice.")] = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Create a standing order. The same call with the same --order-id again changes nothing."""
    rhythm = {"frequency": frequency.value, "start_date": start_date, "time_zone": time_zone, "calendar": calendar, "holidays": holidays}
    body = {
        "order_id": order_id or str(uuid.uuid4()),  # the client may send it again, and must not enter it twice
        "debtor": debtor,
        "creditor": creditor,
        "amount": amount,
        "currency": currency,
        "schedule": rhythm | given(day=day, time=time, end_date=end_date, count=count),
        "on_refusal": _on_refusal(on_refusal, retry_until, every),
        **given(reference=reference, remittance_information=remittance_information),
    }
    _show(ask(api_url, api_key, lambda client: client.create_standing_order(body)), as_json=as_json)


def order_list(
    limit: Annotated[int, typer.Option(help="Orders at most.")] = 100,
    cursor: Annotated[str | None, typer.Option(help="The cursor that the page before ended with.")] = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """List standing orders, the oldest first."""
    page = ask(api_url, api_key, lambda client: client.standing_orders(limit=limit, cursor=cursor))
    if as_json:
        show(page, as_json=True)
        return
    for order in page["orders"]:
        following = order["next_due"][0]["due_date"] if order["next_due"] else "-"
        typer.echo("  ".join([*(str(order[name]) for name in _LISTED), f"next {following}"]))
    if page["next_cursor"] is not None:
        typer.echo(f"more: --cursor {page['next_cursor']}", err=True)


def order_show(order_id: OrderId, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Show a standing order: how it stands, what is due next, and what was done."""
    _show(ask(api_url, api_key, lambda client: client.standing_order(order_id)), as_json=as_json)


def _change_command(change: str) -> Callable[..., None]:
    def command(order_id: OrderId, reason: Reason = None, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: Json = False) -> None:
        _show(ask(api_url, api_key, lambda client: getattr(client, f"{change}_standing_order")(order_id, reason)), as_json=as_json)

    return command


def _show(order: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        show(order, as_json=True)
        return
    lines = {name: value for name, value in order.items() if name not in {"schedule", "next_due", "runs"} and value is not None}
    lines |= {name: value for name, value in order["schedule"].items() if value is not None}
    lines["next_due"] = ", ".join(due["due_date"] for due in order["next_due"]) or None
    show(lines, as_json=False)
    for run in order.get("runs") or ():
        reason = f" ({run['reason']['code']})" if run["reason"] else ""
        attempt = f", attempt {run['attempt']}" if run["attempt"] > 1 else ""
        typer.echo(f"{run['due_date']}{attempt}: {run['outcome'] or 'under way'}{reason}, transaction {run['transaction_id']}")


def _on_refusal(rule: str, retry_until: int | None, every: int | None) -> object:
    if rule != "retry":
        if retry_until is not None or every is not None:
            raise InvalidInputError(field="on_refusal", value=rule, rule="must be retry beside --retry-until and --every")
        return rule
    if retry_until is None:
        raise InvalidInputError(field="retry_until", value=None, rule="must be given with --on-refusal retry")
    return {"retry_until": retry_until, **given(every=every)}
