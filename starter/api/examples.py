"""Examples for the OpenAPI document: made from the schemas, with values that a bank would have, so that each has the form that it shows."""

from __future__ import annotations

from typing import Any, Final

_UUID: Final = "0f0b8c1e-6f3a-5d0e-9a7c-2b1d3e4f5a6b"
_INSTANT: Final = "2026-01-31T12:00:00Z"
_VALUES: Final[dict[str, Any]] = {
    "account_id": "AT611904300234573201",
    "debtor": "AT611904300234573201",
    "creditor": "DE89370400440532013000",
    "currency": "EUR",
    "amount": "12.50",
    "kind": "transfer",
    "status": "completed",
    "reference": "INVOICE 17",
    "remittance_information": "Rent for February",
    "principal": "teller",
    "submitted_by": "teller",
    "by": "operator",
    "customer_id": "customer-17",
    "time_zone": "Europe/Prague",
    "next_cursor": None,
    "cursor": None,
    "reason": None,
    "base": "USD",
    "quote": "EUR",
    "rate": "0.861400000000",
    "source": "ECB euro foreign exchange reference rates",
    "leg": "debit",
    "outcome": "posted",
}
_STATUSES: Final = {"AccountView": "active", "HoldView": "open", "StandingOrderView": "active"}
_KINDS: Final = {"AccountBody": "current", "AccountView": "current"}
_LEG: Final = {
    "leg": "debit",
    "account_id": "AT611904300234573201",
    "outcome": "posted",
    "amount": "12.50",
    "currency": "EUR",
    "value_date": "2026-01-31",
    "decided_at": _INSTANT,
    "version": 7,
    "ledger_balance_after": "487.50",
    "available_balance_after": "987.50",
}
_CREDIT: Final = {name: value for name, value in _LEG.items() if name != "version" and not name.endswith("_after")} | {
    "leg": "credit",
    "account_id": "DE89370400440532013000",
}
WHOLE: Final[dict[str, Any]] = {
    "AccountBody": {"account_id": "AT611904300234573201", "currency": "EUR", "kind": "current", "overdraft_limit": "500.00"},
    "RulesBody": {"daily_limit": "1000.00", "maximum_balance": None},
    "TransactionBody": {
        "transaction_id": _UUID,
        "debtor": "AT611904300234573201",
        "creditor": "DE89370400440532013000",
        "amount": "12.50",
        "currency": "EUR",
        "reference": "INVOICE 17",
    },
    "BatchBody": {
        "transactions": [
            {"debtor": "AT611904300234573201", "amount": "12.50", "currency": "EUR"},
            {"creditor": "DE89370400440532013000", "amount": "3.00", "currency": "EUR"},
        ]
    },
    "ReversalBody": {"amount": "2.50", "reference": "REFUND 17"},
    "HoldBody": {"account_id": "AT611904300234573201", "amount": "80.00", "currency": "EUR", "expires_at": "2999-01-31T12:00:00Z"},
    "CaptureBody": {"amount": "74.20", "creditor": "DE89370400440532013000"},
    "TransactionView": {
        "transaction_id": _UUID,
        "status": "completed",
        "legs": [_LEG, _CREDIT],
        "kind": "transfer",
        "debtor": "AT611904300234573201",
        "creditor": "DE89370400440532013000",
        "amount": "12.50",
        "currency": "EUR",
        "settlement": "cash",
        "reference": "INVOICE 17",
        "submitted_by": "teller",
        "submitted_at": "2026-01-31T11:59:59.870000Z",
    },
}
"""Bodies and answers that are shown otherwise than with what must be given, or with all that there may be."""


def example_of(schema: dict[str, Any], schemas: dict[str, Any], *, name: str = "", within: str = "") -> Any:  # noqa: ANN401  JSON
    """A value that fits a schema.

    Args:
        schema: of the value.
        schemas: those that it refers to, by name.
        name: of the field that the value is for.
        within: the model that the field belongs to.
    """
    reference = schema.get("$ref")
    if reference is not None:
        model = reference.rpartition("/")[2]
        return WHOLE.get(model) or example_of(schemas[model], schemas, name=name, within=model)
    for part in ("anyOf", "oneOf", "allOf"):
        if part in schema:
            chosen = next((each for each in schema[part] if each.get("type") != "null"), schema[part][0])
            has_null = any(each.get("type") == "null" for each in schema[part])
            return None if has_null and _VALUES.get(name, "") is None else example_of(chosen, schemas, name=name, within=within)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        wanted = _STATUSES.get(within, _VALUES["status"]) if name == "status" else _KINDS.get(within, _VALUES.get(name))
        return wanted if wanted in schema["enum"] else schema["enum"][0]
    if schema.get("examples") and not _VALUES.get(name):  # of two accounts, say, not the same one
        return schema["examples"][0]
    return _plain(schema, schemas, name, within)


def _plain(schema: dict[str, Any], schemas: dict[str, Any], name: str, within: str) -> Any:  # noqa: ANN401  JSON
    kind = schema.get("type")
    if kind == "object":
        required = set(schema.get("required", ()))
        is_answer = not within.endswith("Body")
        properties = schema.get("properties", {}).items()
        return {
            field: example_of(inner, schemas, name=field, within=within) for field, inner in properties if field in required or is_answer
        }
    if kind == "array":
        return [example_of(schema.get("items", {}), schemas, name=name, within=within)]
    if kind == "string":
        return _text(schema, name, within)
    return {"integer": max(1, schema.get("minimum", 1)), "number": 1.5, "boolean": True, "null": None}.get(kind or "", "...")


def _text(schema: dict[str, Any], name: str, within: str) -> str:
    by_format = {"uuid": _UUID, "date-time": _INSTANT, "date": "2026-01-31", "time": "12:00:00", "uri": "https://bank.example/hook"}
    if schema.get("format") in by_format:
        return by_format[schema["format"]]
    if name == "status":
        return _STATUSES.get(within, "completed")
    if name == "kind" and within in _KINDS:
        return _KINDS[within]
    if name.endswith("_id") and name not in _VALUES:
        return _UUID
    is_amount = schema.get("format") == "decimal" or "[0-9]+" in schema.get("pattern", "")
    return str(_VALUES.get(name) or ("12.50" if is_amount else "text"))
