"""Links into Temporal's Web UI: one workflow, and the lists that an operator looks at."""

from __future__ import annotations

import datetime as dt
from typing import Final
from urllib.parse import quote, urlencode

from ledger import visibility
from ledger.ids import workflow_id as workflow_id_of

_TRANSACTIONS: Final = "`WorkflowType`='TransactionWorkflow'"

_PLACE: Final = "{transaction_id}"
_LONG: Final = dt.timedelta(minutes=1)
"""A healthy transaction takes less than a second."""


def views(now: dt.datetime) -> dict[str, str]:
    """Names of lists, and the queries that make them; the Web UI can save each as a view.

    Args:
        now: the server's queries know no relative times, so "older than a minute" is meant as of this instant.
    """
    running = f"{_TRANSACTIONS} AND `ExecutionStatus`='Running'"
    long_ago = (now - _LONG).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "parked": f"{running} AND `{visibility.STATUS}`='parked'",
        "waiting for approval": f"{running} AND `{visibility.WAITING_FOR}`='approval'",
        "running for longer than a minute": f"{running} AND `{visibility.WAITING_FOR}` IS NULL AND `StartTime` < '{long_ago}'",
        "rejected": f"{_TRANSACTIONS} AND `{visibility.STATUS}`='rejected'",
        "compensated": f"{_TRANSACTIONS} AND `{visibility.STATUS}`='reversed'",
        "failed or ended by hand": f"{_TRANSACTIONS} AND `ExecutionStatus` IN ('Failed','Terminated','Canceled','TimedOut')",
    }


def view_link(ui: str, namespace: str, query: str) -> str:
    """Where the Web UI shows the workflows of a query."""
    return f"{ui}/namespaces/{quote(namespace, safe='')}/workflows?{urlencode({'query': query}, quote_via=quote)}"


def workflow_link(ui: str, namespace: str, workflow_id: str, run_id: str) -> str:
    """Where the Web UI shows one workflow."""
    return f"{ui}/namespaces/{quote(namespace, safe='')}/workflows/{quote(workflow_id, safe='')}/{run_id}/timeline"


def transaction_search(ui: str, namespace: str, tenant: str) -> str:
    """Where the Web UI finds the workflow of a transaction of the tenant: a link with ``{transaction_id}`` in the id's place."""
    link = view_link(ui, namespace, f"`WorkflowId`='{workflow_id_of(tenant, _PLACE)}'")
    return link.replace(quote(_PLACE, safe=""), _PLACE)


def run_timeline(ui: str, namespace: str) -> str:
    """As :func:`workflow_link`, with ``{workflow_id}`` and ``{run_id}`` in their places; both have to be percent-encoded."""
    return f"{ui}/namespaces/{quote(namespace, safe='')}/workflows/{{workflow_id}}/{{run_id}}/timeline"
