"""Whether new work is taken, and what is still in flight when it is not."""

from __future__ import annotations

from pydantic import AwareDatetime, BaseModel, ConfigDict


class IntakeState(BaseModel):
    """Whether new work is taken."""

    model_config = ConfigDict(frozen=True)

    is_open: bool
    changed_at: AwareDatetime
    changed_by: str | None
    """None: it was never changed."""
    reason: str | None


class InFlight(BaseModel):
    """What has begun and has not come to its end."""

    model_config = ConfigDict(frozen=True)

    transactions: int
    """That a workflow carries, and that wait for nobody."""
    files: int
    """Payment files that are read or posted."""
    events: int
    """Stored and not published; at most 10,000 are counted."""
    standing: int
    """Transactions that wait for an approval or for their day, or stand parked. They outlive a deployment, and are not waited for."""

    @property
    def is_over(self) -> bool:
        """Nothing has to be waited for."""
        return not (self.transactions or self.files or self.events)
