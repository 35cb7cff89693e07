"""Whose commands a workflow obeys: those that were signed with a secret of the API's.

The composition root gives them to the process, and so to every workflow in it. Update validators alone ask, and a replay runs none of
them: so no history depends on a secret, and secrets may be rotated while transactions wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from temporalio.exceptions import ApplicationError

from ledger.errors import UnauthenticatedCommandError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ledger.commands import Command


class _Trusted:
    """One set of secrets for the process."""

    secrets: tuple[bytes, ...] = ()


def trust(secrets: Sequence[bytes]) -> None:
    """Obey commands that one of these secrets has signed, and no others; none at all where there are no secrets."""
    _Trusted.secrets = tuple(secrets)


def refuse_unless_authentic(command: Command, *, action: str, tenant: str, identifier: str) -> None:
    """For update validators: let only commands pass that the API has made for this action of this transaction or hold.

    Raises:
        ApplicationError: UnauthenticatedCommandError, not retryable.
    """
    is_meant = (command.action, command.tenant, command.transaction_id) == (action, tenant, identifier)
    if is_meant and command.is_authentic(_Trusted.secrets):
        return
    error = UnauthenticatedCommandError(action=action, identifier=identifier)
    raise ApplicationError(str(error), error.code, type=type(error).__name__, non_retryable=True)
