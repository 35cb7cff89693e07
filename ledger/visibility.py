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

KEYWORDS: Final = (TENANT, KIND, STATUS, REASON, CURRENCY)
"""Search attributes of Temporal type Keyword."""
KEYWORD_LISTS: Final = (ACCOUNTS,)
"""Search attributes of Temporal type KeywordList."""

FINGERPRINT_MEMO: Final = "fingerprint"
"""Memo key of the request's fingerprint, by which a repeat is told from a conflict while the workflow runs."""
