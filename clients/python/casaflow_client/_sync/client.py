"""The synchronous client as a whole."""

from __future__ import annotations

from casaflow_client._sync.accounts import Accounts
from casaflow_client._sync.administration import Administration
from casaflow_client._sync.events import Events
from casaflow_client._sync.files import Files
from casaflow_client._sync.holds import Holds
from casaflow_client._sync.reports import Reports
from casaflow_client._sync.standing_orders import StandingOrders
from casaflow_client._sync.transactions import Transactions


class Client(
    Accounts,
    Transactions,
    Holds,
    StandingOrders,
    Reports,
    Files,
    Events,
    Administration,
):
    """Requests to one API with one key. ``with AsyncClient(url, key) as client: …``."""
