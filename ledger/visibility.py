"""Names under which operators find transactions in Temporal's Web UI. No personal data: ids, codes and statuses only.

Kept here as plain data, since both the workflows, which set them, and the stack, which registers them, need the same names.
"""

from __future__ import annotations

from typing import Final

TENANT: Final = "CasaflowTenant"
KIND: Final = "CasaflowKind"
STATUS: Final = "CasaflowStatus"
REASON: Final = "CasaflowReason"
"""Refusal code; set only when there is one."""
CURRENCY: Final = "CasaflowCurrency"
ACCOUNTS: Final = "CasaflowAccounts"
"""Debtor and creditor account ids."""
WAITING_FOR: Final = "CasaflowWaitingFor"
"""``approval`` or ``execution-date``; set only while it is waited for."""
WAITING_UNTIL: Final = "CasaflowWaitingUntil"
"""When the approval expires, or the execution date begins; of the last wait, where there is none any more."""

AMOUNT_BAND: Final = "CasaflowAmountBand"
"""Of the amount, see :mod:`ledger.bands`: enough to find the large ones, and not the amount itself."""

SETTLES: Final = "CasaflowSettles"
"""Of a run that settles what another has left: how that one stands."""

KEYWORDS: Final = (SETTLES, TENANT, KIND, STATUS, REASON, CURRENCY, WAITING_FOR, AMOUNT_BAND)
"""Search attributes of Temporal type Keyword."""
KEYWORD_LISTS: Final = (ACCOUNTS,)
"""Search attributes of Temporal type KeywordList."""
DATETIMES: Final = (WAITING_UNTIL,)
"""Search attributes of Temporal type Datetime."""

FINGERPRINT_MEMO: Final = "fingerprint"
"""Memo key of the request's fingerprint, by which a repeat is told from a conflict while the workflow runs."""
