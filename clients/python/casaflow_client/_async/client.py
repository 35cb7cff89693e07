"""The asynchronous client as a whole."""

from __future__ import annotations

from casaflow_client._async.accounts import AsyncAccounts
from casaflow_client._async.administration import AsyncAdministration
from casaflow_client._async.events import AsyncEvents
from casaflow_client._async.files import AsyncFiles
from casaflow_client._async.holds import AsyncHolds
from casaflow_client._async.reports import AsyncReports
from casaflow_client._async.standing_orders import AsyncStandingOrders
from casaflow_client._async.transactions import AsyncTransactions


class AsyncClient(
    AsyncAccounts,
    AsyncTransactions,
    AsyncHolds,
    AsyncStandingOrders,
    AsyncReports,
    AsyncFiles,
    AsyncEvents,
    AsyncAdministration,
):
    """Requests to one API with one key. ``async with AsyncClient(url, key) as client: …``."""
