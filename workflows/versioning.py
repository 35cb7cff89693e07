"""Which runs stay with the worker version that began them, and which go on with each new one; see docs/decisions/0018."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from temporalio.common import AutoUpgradeVersioningOverride

if TYPE_CHECKING:
    from ledger.requests import TransactionRequest

GOES_ON_WITH_EACH_VERSION: Final = AutoUpgradeVersioningOverride()
"""For what waits for minutes or days: a hold always, a transaction sometimes. Their code changes by `workflow.patched` only."""


def versioning_override(request: TransactionRequest) -> AutoUpgradeVersioningOverride | None:
    """How a transaction is started: one that will wait for an approval or a date goes on with each new version of the workers.

    All others end within moments, and stay with the version that they began with (None: as the worker says). Whatever waits unforeseen,
    since it is parked, is moved by `casaflow promote`.
    """
    waits = request.approval is not None or request.executes_at is not None
    return GOES_ON_WITH_EACH_VERSION if waits else None
