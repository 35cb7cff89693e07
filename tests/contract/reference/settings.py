"""The page of the settings."""

from __future__ import annotations

import datetime as dt
import enum
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import AliasChoices, BaseModel, SecretStr
from pydantic_core import PydanticUndefined

from infra.oauth.issuers import OAuthIssuer
from infra.settings import MetricsAddress, Settings
from tests.contract.reference import command_line
from tests.contract.reference.docstrings import member_texts
from tests.contract.reference.markdown import code, from_docstring, page, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

_INTRODUCTION: Final = """\
Every process reads its settings from its environment once, when it starts. A setting that is not well-formed ends the process with exit
code 2 and a line that names it. Of the three servers those that are set replace the embedded ones of `casaflow up`. Processes that work
together get the same settings, except where one says of which process it is."""
_SECTIONS: Final = {
    "The folder of the embedded stack": ("home", "stack_controls", "servers_only"),
    "PostgreSQL": ("postgres_", "maintenance_", "relay_"),
    "Temporal": ("temporal_", "task_queue", "worker_"),
    "Encryption of what Temporal stores": ("payload_", "codec_"),
    "Kafka": ("kafka_", "consumer_groups"),
    "Workers": ("workers", "workflow_tasks", "api_workflow_tasks"),
    "The HTTP API": ("api_", "request_", "rate_limit_", "cors_", "event_streams", "file_max_bytes"),
    "Keys and tokens": ("key_", "oauth_", "command_", "secrets_"),
    "The bank's rules": ("transfers", "approval_", "bic", "time_zone", "statement_period", "execution_"),
    "Exchange rates": ("rates_",),
    "The sweep": ("sweep_",),
    "Notifications": ("smtp_", "webhook_", "notification"),
    "Observing": ("metrics_", "otlp_", "log_"),
}
"""By the beginnings of names; the first section that one fits."""
_PLAIN: Final = {
    str: "text",
    SecretStr: "text, secret",
    bool: "`true` or `false`",
    int: "whole number",
    float: "number",
    Path: "path",
    dict: "JSON object",
    MetricsAddress: "`host:port`, or a port",
    dt.timedelta: "duration (ISO 8601)",
}


def text() -> str:
    """The page."""
    sections = {title: list(_rows(title)) for title in _SECTIONS}
    told = sum(map(len, sections.values()))
    if told != len(Settings.model_fields):
        message = f"{len(Settings.model_fields) - told} settings have no section: see _SECTIONS"
        raise ValueError(message)
    columns = ("setting", "type and limits", "default", "meaning")
    parts = [part for title, rows in sections.items() for part in (f"## {title}", table(columns, rows))]
    of_issuers = member_texts(OAuthIssuer)
    fields = table(
        ("field", "type and limits", "default", "meaning"),
        (_row(code(name), field, of_issuers[name]) for name, field in OAuthIssuer.model_fields.items()),
    )
    variables = table(("setting", "meaning"), ((code(name), from_docstring(meaning)) for name, meaning in command_line.variables().items()))
    return page(
        "Settings",
        _INTRODUCTION,
        *parts,
        "## The fields of an issuer of tokens",
        "Each entry of the JSON list `CASAFLOW_OAUTH_ISSUERS`.",
        fields,
        "## Of the command line alone",
        variables,
    )


def _section_of(name: str) -> str:
    if name.startswith("api_workflow"):
        return "Workers"
    return next((title for title, beginnings in _SECTIONS.items() if name.startswith(beginnings)), "")


def _rows(title: str) -> Iterator[tuple[str, str, str, str]]:
    meanings = member_texts(Settings)
    for name, field in Settings.model_fields.items():
        if _section_of(name) == title:
            alias = field.validation_alias
            names = alias.choices if isinstance(alias, AliasChoices) else [f"CASAFLOW_{name.upper()}"]
            yield _row(" or ".join(code(each) for each in names), field, meanings[name])


def _row(name: str, field: FieldInfo, meaning: str) -> tuple[str, str, str, str]:
    limits = _limits(field)
    return name, type_of(field.annotation) + (f", {limits}" if limits else ""), _default(field), meaning


def type_of(annotation: Any) -> str:
    """Words for a type."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in {Union, types.UnionType}:
        words = [type_of(each) for each in arguments if each is not types.NoneType]
        return " or ".join(words)
    if origin is Literal:
        return ", ".join(code(each) for each in arguments)
    if origin is tuple:
        return _list_of(arguments[0])
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return ", ".join(code(each.value) for each in annotation)
    return _PLAIN[origin or annotation]


def _list_of(part: Any) -> str:
    if isinstance(part, type) and issubclass(part, BaseModel):
        return "JSON list"
    return "list of " + (type_of(part) if get_origin(part) is Literal else "texts")


def _limits(field: FieldInfo) -> str:
    words = []
    for limit in field.metadata:
        match limit:
            case Ge(ge=least):
                words.append(f"{_number(least)} or more")
            case Gt(gt=below):
                words.append(f"more than {_number(below)}")
            case Le(le=most):
                words.append(f"{_number(most)} at most")
            case Lt(lt=above):
                words.append(f"less than {_number(above)}")
            case _ if getattr(limit, "pattern", None):
                words.append(code(limit.pattern))
            case _:
                pass
    return ", ".join(words)


def _number(value: Any) -> str:
    return _duration(value) if isinstance(value, dt.timedelta) else f"{value:,}"


def _duration(value: dt.timedelta) -> str:
    days, hours = value.days, value.seconds // 3600
    return f"{days} days" if days > 1 and not hours else f"{days * 24 + hours} hours"


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined and field.default_factory is None:
        return "required"
    default = field.get_default(call_default_factory=True, validated_data={})
    if default is None or default in ("", (), {}):
        return ""
    if isinstance(default, dt.timedelta):
        return _duration(default)
    if isinstance(default, bool):
        return code(str(default).lower())
    return code(",".join(default) if isinstance(default, tuple) else default)
