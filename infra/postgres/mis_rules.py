"""Whether the totals of the group mis are what the ledger's own tables say of the events that the group has applied.

An event that is not applied yet is no difference: the totals stand for what the group has come to, and for nothing else.
"""

from __future__ import annotations

from typing import Final

from infra.postgres.proof_rules import rule
from ledger.bands import BAND_LIMITS, OVERDRAWN
from ledger.currencies import MINOR_UNIT_EXPONENTS

_CENTS: Final = 2
_OTHER_EXPONENTS: Final = sorted({exponent for exponent in MINOR_UNIT_EXPONENTS.values() if exponent != _CENTS})
# Minor units of a major one, by the column `currency`.
_SCALE: Final = "CAST(CASE {} ELSE 100 END AS bigint)".format(
    " ".join(
        "WHEN currency IN ({}) THEN {}".format(
            ", ".join(f"'{code}'" for code, own in MINOR_UNIT_EXPONENTS.items() if own == exponent), 10**exponent
        )
        for exponent in _OTHER_EXPONENTS
    )
)


def _band(minor_units: str) -> str:
    """:func:`ledger.bands.amount_band` in SQL, of a column beside the columns `currency` and `scale`."""
    lowers = (0, *BAND_LIMITS)
    cases = " ".join(
        f"WHEN {minor_units} < {limit} * scale THEN '{lower}-{limit}'" for lower, limit in zip(lowers, BAND_LIMITS, strict=False)
    )
    return f"CASE {cases} ELSE '{BAND_LIMITS[-1]}+' END"


# What an operator has skipped is stored as applied, and had no effect. NOT IN, whose list is hashed whatever the planner believes of it.
_WITH_EFFECT: Final = "a.event_id NOT IN (SELECT event_id FROM mis.held_event WHERE status = 'skipped' AND event_id IS NOT NULL)"
_APPLIED: Final = f"""
    SELECT e.event_id, e.tenant, e.transaction_id, e.key, e.topic, e.type, e.payload
      FROM mis.applied_event a JOIN event_outbox e USING (event_id)
     WHERE {_WITH_EFFECT}"""  # noqa: S608  constants of this module, here and below

_TRANSACTION_KEY: Final = "tenant, hour, currency, kind, outcome, reason, band"
_TRANSACTIONS: Final = f"""
    SELECT {_TRANSACTION_KEY}, count(*) AS transactions, sum(minor_units) AS amount
      FROM (SELECT tenant, hour, currency, kind, outcome, reason, minor_units, {_band("minor_units")} AS band
              FROM (SELECT *, {_SCALE} AS scale
                      FROM (SELECT t.tenant, date_trunc('hour', t.finished_at, 'UTC') AS hour,
                                   t.request #>> '{{amount,currency}}' AS currency, t.kind, t.status AS outcome,
                                   CASE WHEN t.status = 'completed' THEN '' ELSE coalesce(t.reason ->> 'code', '') END AS reason,
                                   CAST(t.request #>> '{{amount,minor_units}}' AS bigint) AS minor_units
                              FROM ({_APPLIED}) AS e JOIN transaction t USING (tenant, transaction_id)
                             WHERE e.topic = 'accounting.transaction-finished') AS finished) AS scaled) AS banded
     GROUP BY {_TRANSACTION_KEY}"""  # noqa: S608

_ENTRY_KEY: Final = "tenant, hour, currency, kind, leg, band, balance_band"
_LEGS: Final = f"""
    SELECT event_id, tenant, transaction_id, type, substr(key, length(tenant) + 2) AS account_id, CAST(payload AS json) ->> 'leg' AS leg
      FROM ({_APPLIED}) AS e WHERE topic = 'casa.balance-updated'"""  # noqa: S608
_ENTRIES: Final = f"""
    SELECT {_ENTRY_KEY}, count(*) AS entries, sum(minor_units) AS amount
      FROM (SELECT tenant, hour, currency, kind, leg, minor_units, {_band("minor_units")} AS band,
                   CASE WHEN balance IS NULL THEN '' WHEN balance < 0 THEN '{OVERDRAWN}' ELSE {_band("balance")} END AS balance_band
              FROM (SELECT *, {_SCALE} AS scale
                      FROM (SELECT x.tenant, date_trunc('hour', x.posted_at, 'UTC') AS hour, x.currency, t.kind, x.leg,
                                   x.amount AS minor_units, x.balance
                              FROM (SELECT c.tenant, c.transaction_id, c.leg, c.currency, c.amount, c.posted_at,
                                           CAST(NULL AS numeric) AS balance
                                      FROM ({_LEGS}) AS e JOIN offline_entry c USING (tenant, account_id, transaction_id, leg)
                                     WHERE e.type = 'casaflow.casa.credited.v1'
                                     UNION ALL
                                    SELECT d.tenant, d.transaction_id, d.leg, d.currency, d.amount, d.posted_at, d.balance_after
                                      FROM ({_LEGS}) AS e JOIN online_entry d USING (tenant, account_id, transaction_id, leg)
                                     WHERE e.type = 'casaflow.casa.debited.v1') AS x
                              JOIN transaction t USING (tenant, transaction_id)) AS entry) AS scaled) AS banded
     GROUP BY {_ENTRY_KEY}"""  # noqa: S608

_SHOWN_HOUR: Final = """to_char(hour AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24"Z"')"""

MIS_RULES: Final = (
    rule(
        5,
        f"""
        SELECT format('hour %s, tenant %s, %s %s %s: group mis counts %s transactions over %s minor units, the ledger %s over %s',
                      {_SHOWN_HOUR}, tenant, currency, kind, concat_ws(' ', outcome, nullif(reason, ''), band),
                      coalesce(m.transactions, 0), coalesce(m.amount, 0), coalesce(l.transactions, 0), coalesce(l.amount, 0))
          FROM ({_TRANSACTIONS}) AS l FULL JOIN mis.transaction_total m USING ({_TRANSACTION_KEY})
         WHERE (m.transactions, m.amount) IS DISTINCT FROM (l.transactions, l.amount)
        """,  # noqa: S608
    ),
    rule(
        5,
        f"""
        SELECT format('hour %s, tenant %s, %s %s %s: group mis counts %s entries over %s minor units, the ledger %s over %s',
                      {_SHOWN_HOUR}, tenant, currency, kind, concat_ws(' ', leg, band, nullif(balance_band, '')),
                      coalesce(m.entries, 0), coalesce(m.amount, 0), coalesce(l.entries, 0), coalesce(l.amount, 0))
          FROM ({_ENTRIES}) AS l FULL JOIN mis.entry_total m USING ({_ENTRY_KEY})
         WHERE (m.entries, m.amount) IS DISTINCT FROM (l.entries, l.amount)
        """,  # noqa: S608
    ),
)
