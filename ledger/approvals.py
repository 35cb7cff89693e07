"""Approval by a second person: what a caller may ask for, and what a transaction needs. Pure data; see decision record 0015."""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict

LONGEST_EXPIRY: Final = dt.timedelta(days=90)
"""Nobody remembers what is older; and money that waits in transit belongs to somebody."""


class ApprovalStage(StrEnum):
    """What has to wait for the approval."""

    POSTING = "posting"
    """Everything: no money moves before."""
    CREDIT = "credit"
    """The credit of a transfer: the debit is posted, and the money stands in transit. Declined or expired, the debtor gets it back."""


class ApprovalAsked(BaseModel):
    """What the caller asked for. It is part of the request's content: the same id with another wish is a conflict."""

    model_config = ConfigDict(frozen=True)

    expires_in_seconds: int | None = None
    """None: as long as the bank's setting says."""
    before: ApprovalStage = ApprovalStage.POSTING


class Approval(BaseModel):
    """What a transaction needs, by the bank's thresholds or by its caller's wish."""

    model_config = ConfigDict(frozen=True)

    expires_at: AwareDatetime
    """From then on it can't be approved any more. An instant, so that a workflow that begins again doesn't begin to wait again."""
    before: ApprovalStage = ApprovalStage.POSTING
