"""Administrative acts as they are shown."""

from __future__ import annotations

from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict


class AdministrativeAct(BaseModel):
    """What somebody did who looks after accounts, keys, transactions or servers."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    act_id: str
    at: AwareDatetime
    tenant: str | None
    """None: of the servers, which all tenants share."""
    by: str
    """The principal; of a command on a server ``cli:`` and the user there."""
    key_id: str | None
    """Of the API key; of a token ``token:`` and its id. None: neither was used, or the act's table has none."""
    address: str | None
    """Where it came from; None: the act's table has none."""
    action: str
    """``key.created``, ``account.changed``, ``transaction.approve``…"""
    subject: str
    """What it was done to: ``account DE02…``."""
    detail: dict[str, Any]
    """What else is known: before and after, a reason. Without secrets."""
