"""What must be true of the tables at every instant, one query for each rule; `casaflow check` runs them all in one snapshot.

A query gives one line of text for each violation, with the exact ids, and nothing when the rule holds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from infra.postgres.privileges import SAFEGUARDS

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import AsyncIterator, Collection, Mapping, Sequence

    from sqlalchemy import TextClause
    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.postgres.database import Database

SHOWN_VIOLATIONS: Final = 100
"""Violations of one rule that are listed; more are counted."""

# Nothing is written, and all rules see the same instant.
_ONE_SNAPSHOT: Final = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")

_CUSTOMER_ENTRIES: Final = """
    SELECT tenant, account_id, currency, amount, transaction_id, leg FROM offline_entry
    UNION ALL
    SELECT tenant, account_id, currency, -amount, transaction_id, leg FROM online_entry"""


@dataclass(frozen=True)
class Rule:
    """A rule that the tables obey."""

    truth: int
    """Which of the design's six truths it is a part of."""
    query: TextClause
    """A row for each violation, up to :data:`SHOWN_VIOLATIONS`: its text, and how many there are. May use the parameter ``until``."""


def _rule(truth: int, query: str) -> Rule:
    """A rule by a query with one text column. However much is wrong, the server counts it and this process holds little of it."""
    counted = f"SELECT violation, count(*) OVER () AS total FROM ({query}\n) AS violations (violation) LIMIT {SHOWN_VIOLATIONS}"  # noqa: S608
    return Rule(truth=truth, query=text(counted))


LEDGER_RULES: Final = (
    # ---- what the truths rest on: nobody can get around what posts ----
    *(_rule(truth, query) for truth, query in SAFEGUARDS),
    # ---- 1: no money appears or disappears ----
    _rule(
        1,
        f"""
        SELECT format('tenant %s: all entries in %s sum to %s minor units', tenant, currency, sum(amount))
          FROM (SELECT tenant, currency, amount FROM ({_CUSTOMER_ENTRIES}) AS customers
                UNION ALL SELECT tenant, currency, amount FROM gl_entry) AS entries
         GROUP BY tenant, currency HAVING sum(amount) <> 0
        """,  # noqa: S608  a constant of this module
    ),
    _rule(
        1,
        f"""
        SELECT format('transaction %s of tenant %s: its %s leg sums to %s minor units of %s',
                      transaction_id, tenant, leg, sum(amount), currency)
          FROM (SELECT tenant, transaction_id, leg, currency, amount FROM ({_CUSTOMER_ENTRIES}) AS customers
                UNION ALL SELECT tenant, transaction_id, leg, currency, amount FROM gl_entry) AS entries
         GROUP BY tenant, transaction_id, leg, currency HAVING sum(amount) <> 0
        """,  # noqa: S608
    ),
    _rule(
        1,
        """
        SELECT format('account %s of tenant %s: the view shows %s offline and %s online, the entries sum to %s and %s',
                      v.account_id, v.tenant, v.offline, v.online, coalesce(c.amount, 0), coalesce(d.amount, 0))
          FROM account_balance v
          LEFT JOIN (SELECT tenant, account_id, sum(amount) AS amount FROM offline_entry GROUP BY 1, 2) AS c USING (tenant, account_id)
          LEFT JOIN (SELECT tenant, account_id, sum(amount) AS amount FROM online_entry GROUP BY 1, 2) AS d USING (tenant, account_id)
         WHERE v.offline <> coalesce(c.amount, 0) OR v.online <> coalesce(d.amount, 0)
        """,
    ),
    _rule(
        1,
        f"""
        SELECT format('transaction %s of tenant %s: an entry on account %s, which has no balance', e.transaction_id, e.tenant, e.account_id)
          FROM ({_CUSTOMER_ENTRIES}) AS e LEFT JOIN account_balance v USING (tenant, account_id)
         WHERE v.account_id IS NULL OR v.currency <> e.currency
        """,  # noqa: S608
    ),
    _rule(
        1,
        """
        SELECT format('transaction %s of tenant %s is %s, and %s minor units of %s of it are still in transit',
                      g.transaction_id, g.tenant, min(t.status), sum(g.amount), g.currency)
          FROM gl_entry g JOIN transaction t USING (tenant, transaction_id)
         WHERE g.account_id = 'transit' AND t.finished_at IS NOT NULL
         GROUP BY g.tenant, g.transaction_id, g.currency HAVING sum(g.amount) <> 0
        """,
    ),
    # ---- 2: a transaction id is posted at most once per leg ----
    _rule(
        2,
        # Each of several creditors has one entry, so has each of those who give it back, and no account has two.
        f"""
        SELECT format('transaction %s of tenant %s: its %s leg has %s entries', e.transaction_id, e.tenant, e.leg, e.entries)
          FROM (SELECT tenant, transaction_id, leg, count(*) AS entries, count(DISTINCT account_id) AS accounts
                  FROM ({_CUSTOMER_ENTRIES}) AS both_sides GROUP BY 1, 2, 3 HAVING count(*) > 1) AS e
          LEFT JOIN transaction t USING (tenant, transaction_id)
         WHERE e.entries > e.accounts OR e.leg <> CASE WHEN t.reverses IS NULL THEN 'credit' ELSE 'debit' END
            OR e.entries > coalesce(jsonb_array_length(t.request -> 'shares'), 1)
        """,  # noqa: S608
    ),
    _rule(
        2,
        f"""
        SELECT format('transaction %s of tenant %s: its %s leg was decided as %s over %s %s on account %s, and the entry is %s %s',
                      coalesce(d.transaction_id, e.transaction_id), coalesce(d.tenant, e.tenant), coalesce(d.leg, e.leg),
                      coalesce(d.outcome, 'nothing'), d.amount, d.currency, coalesce(d.account_id, e.account_id), e.amount, e.currency)
          FROM (SELECT * FROM decision WHERE outcome = 'posted') AS d
          FULL JOIN (SELECT tenant, account_id, transaction_id, leg, amount, currency FROM ({_CUSTOMER_ENTRIES}) AS both_sides) AS e
            ON (e.tenant, e.account_id, e.transaction_id, e.leg) = (d.tenant, d.account_id, d.transaction_id, d.leg)
         WHERE d.leg IS NULL OR e.leg IS NULL OR e.currency <> d.currency
            OR e.amount <> CASE WHEN d.leg IN ('debit', 'fee') THEN -d.amount ELSE d.amount END
        """,  # noqa: S608
    ),
    _rule(
        2,
        """
        SELECT format('transaction %s of tenant %s: its %s leg was decided, but the transaction was never recorded',
                      d.transaction_id, d.tenant, d.leg)
          FROM decision d LEFT JOIN transaction t USING (tenant, transaction_id) WHERE t.tenant IS NULL
        """,
    ),
    _rule(
        2,
        """
        SELECT format('the constraint %s, which keeps a leg from being posted twice, is missing or not valid', wanted.name)
          FROM unnest(ARRAY['transaction_pkey', 'decision_pkey', 'offline_entry_pkey', 'online_entry_pkey', 'online_entry_once',
                            'gl_entry_pkey']) AS wanted (name)
         WHERE NOT EXISTS (SELECT 1 FROM pg_constraint c JOIN pg_index i ON i.indexrelid = c.conindid
                            WHERE c.conname = wanted.name AND c.convalidated AND i.indisvalid AND i.indisunique
                              AND c.connamespace = CAST(current_schema() AS regnamespace))
        """,
    ),
    # ---- 3: no accepted debit overdraws its account ----
    _rule(
        3,
        """
        SELECT format('debit %s of account %s, tenant %s (transaction %s): %s minor units available after it, without an override',
                      version, account_id, tenant, transaction_id, available_after)
          FROM online_entry WHERE available_after < 0 AND override IS NULL AND hold_id IS NULL -- a capture takes what was set aside
        """,
    ),
    _rule(
        3,
        # What a debit saw of the credits: its balance plus all debits up to it. It never shrinks, and is never more than there is.
        """
        SELECT format('debit %s of account %s, tenant %s (transaction %s): decided on %s minor units of credits; %s before it, %s in all',
                      version, account_id, tenant, transaction_id, credits_seen, seen_before, credits)
          FROM (SELECT s.*, lag(credits_seen, 1, 0) OVER by_version AS seen_before, coalesce(c.amount, 0) AS credits
                  FROM (SELECT tenant, account_id, version, transaction_id,
                               balance_after + sum(amount) OVER (PARTITION BY tenant, account_id ORDER BY version) AS credits_seen
                          FROM online_entry) AS s
                  LEFT JOIN (SELECT tenant, account_id, sum(amount) AS amount FROM offline_entry GROUP BY 1, 2) AS c
                 USING (tenant, account_id)
                WINDOW by_version AS (PARTITION BY s.tenant, s.account_id ORDER BY s.version)) AS debits
         WHERE credits_seen < seen_before OR credits_seen > credits
        """,
    ),
    _rule(
        3,
        """
        SELECT format('account %s of tenant %s: %s debits up to version %s sum to %s; its online row says version %s and %s',
                      o.account_id, o.tenant, coalesce(e.entries, 0), coalesce(e.newest, 0), coalesce(e.amount, 0), o.version, o.debited)
          FROM online_balance o
          LEFT JOIN (SELECT tenant, account_id, count(*) AS entries, max(version) AS newest, sum(amount) AS amount
                       FROM online_entry GROUP BY 1, 2) AS e USING (tenant, account_id)
         WHERE coalesce(e.entries, 0) <> o.version OR coalesce(e.newest, 0) <> o.version OR coalesce(e.amount, 0) <> o.debited
        """,
    ),
    _rule(
        3,
        """
        SELECT format('account %s of tenant %s: %s folded up to %s, the credits before that sum to %s',
                      o.account_id, o.tenant, o.folded, o.folded_until, coalesce(sum(e.amount), 0))
          FROM online_balance o
          LEFT JOIN offline_entry e
            ON e.tenant = o.tenant AND e.account_id = o.account_id AND e.xid < o.folded_until AND e.xid <> ALL (o.folded_except)
         GROUP BY o.tenant, o.account_id HAVING o.folded <> coalesce(sum(e.amount), 0)
        """,
    ),
    _rule(
        3,
        """
        SELECT format('account %s of tenant %s: its online row says that %s is held, its open holds sum to %s',
                      o.account_id, o.tenant, o.held, coalesce(h.amount, 0))
          FROM online_balance o
          LEFT JOIN (SELECT tenant, account_id, sum(amount - captured) AS amount FROM hold WHERE status = 'open' GROUP BY 1, 2) AS h
         USING (tenant, account_id)
         WHERE o.held <> coalesce(h.amount, 0)
        """,
    ),
    _rule(
        3,
        """
        SELECT format('hold %s of account %s, tenant %s: %s captured, its debits sum to %s', h.hold_id, h.account_id, h.tenant, h.captured,
                      coalesce(e.amount, 0))
          FROM hold h
          FULL JOIN (SELECT tenant, account_id, hold_id, sum(amount) AS amount
                       FROM online_entry WHERE hold_id IS NOT NULL GROUP BY 1, 2, 3) AS e
         USING (tenant, account_id, hold_id)
         WHERE h.captured IS DISTINCT FROM coalesce(e.amount, 0)
        """,
    ),
    # ---- 6: every transaction has exactly one outcome ----
    _rule(
        6,
        """
        SELECT format('transaction %s of tenant %s is %s, with these legs: %s', transaction_id, tenant, status,
                      coalesce(array_to_string(legs, ', '), 'none'))
          FROM (SELECT t.tenant, t.transaction_id, t.kind, t.status,
                       array_agg(DISTINCT d.leg || ' ' || d.outcome) FILTER (WHERE d.leg IS NOT NULL) AS legs, -- sorted
                       EXISTS (SELECT FROM operator_action o WHERE o.tenant = t.tenant AND o.transaction_id = t.transaction_id
                                                               AND o.action = 'settle_to') AS settled
                  FROM transaction t LEFT JOIN decision d USING (tenant, transaction_id)
                 GROUP BY t.tenant, t.transaction_id) AS told
         WHERE NOT coalesce(CASE status
               -- Who was to get it has refused it, and an operator has settled it to somebody else.
               WHEN 'completed' THEN array_remove(array_remove(legs, 'fee posted'), CASE WHEN settled THEN 'credit refused' END)
                    = CAST(CASE kind WHEN 'deposit' THEN '{credit posted}' WHEN 'withdrawal' THEN '{debit posted}'
                                     ELSE '{credit posted,debit posted}' END AS text[])
                    AND (kind <> 'deposit' OR legs = '{credit posted}')
               -- Of legs that are posted together the one that was refused is told of, whichever it is.
               WHEN 'rejected' THEN legs IS NULL OR cardinality(legs) = 1
                    AND CASE kind WHEN 'deposit' THEN legs[1] = 'credit refused'
                                  WHEN 'withdrawal' THEN legs[1] IN ('debit refused', 'fee refused')
                                  ELSE legs[1] IN ('debit refused', 'fee refused', 'credit refused') END
               -- A credit that was not approved, or that an operator has given up, was never refused.
               WHEN 'reversed' THEN kind = 'transfer'
                    AND legs IN ('{compensation posted,credit refused,debit posted}', '{compensation posted,debit posted}')
               ELSE kind = 'transfer' AND legs IN ('{debit posted}', '{credit refused,debit posted}') END, false)
        """,
    ),
    _rule(
        6,
        # What was taken back of a leg is what the legs of its reversals booked on the same account.
        """
        SELECT format('transaction %s of tenant %s: %s of its %s leg on account %s is marked as taken back, its reversals booked %s',
                      d.transaction_id, d.tenant, d.reversed, d.leg, d.account_id, coalesce(sum(r.amount), 0))
          FROM decision d
          LEFT JOIN transaction t ON t.tenant = d.tenant AND t.reverses = d.transaction_id AND t.status = 'completed'
          LEFT JOIN decision r
            ON r.tenant = t.tenant AND r.account_id = d.account_id AND r.transaction_id = t.transaction_id AND r.outcome = 'posted'
           AND r.leg = CASE d.leg WHEN 'debit' THEN 'credit' WHEN 'credit' THEN 'debit' END
         WHERE d.outcome = 'posted'
         GROUP BY d.tenant, d.account_id, d.transaction_id, d.leg HAVING d.reversed <> coalesce(sum(r.amount), 0)
        """,
    ),
    _rule(
        6,
        """
        SELECT format('transaction %s of tenant %s: %s minor units are marked as reversed, its reversals sum to %s',
                      o.transaction_id, o.tenant, o.reversed_amount, coalesce(r.amount, 0))
          FROM transaction o
          LEFT JOIN (SELECT tenant, reverses, sum(CAST(request -> 'amount' ->> 'minor_units' AS numeric)) AS amount
                       FROM transaction WHERE reverses IS NOT NULL AND status = 'completed' GROUP BY 1, 2) AS r
            ON r.tenant = o.tenant AND r.reverses = o.transaction_id
         WHERE o.reversed_amount <> coalesce(r.amount, 0)
        """,
    ),
    _rule(
        6,
        """
        SELECT format('transaction %s of tenant %s: %s %s debited, %s %s given back',
                      d.transaction_id, d.tenant, d.amount, d.currency, c.amount, c.currency)
          FROM decision d JOIN decision c USING (tenant, transaction_id)
         WHERE d.leg = 'debit' AND c.leg = 'compensation'
           AND (d.account_id, d.amount, d.currency) IS DISTINCT FROM (c.account_id, c.amount, c.currency)
        """,
    ),
    # A run is noted before its transaction begins, and its outcome soon after the transaction has one.
    _rule(
        6,
        """
        SELECT format('due date %s of standing order %s, tenant %s, attempt %s, is noted as %s, and its transaction %s is %s', r.due_date,
                      r.order_id, r.tenant, r.attempt, coalesce(r.outcome, 'under way'), r.transaction_id, coalesce(t.status, 'not there'))
          FROM standing_order_run r LEFT JOIN transaction t USING (tenant, transaction_id)
         WHERE CASE WHEN r.outcome IS NULL THEN t.finished_at < clock_timestamp() - INTERVAL '5 minutes'
                    ELSE t.status IS DISTINCT FROM r.outcome END
        """,
    ),
    _rule(
        6,
        """
        SELECT format('due date %s of standing order %s, tenant %s: its transaction %s moves %s %s from %s to %s, the order says %s %s '
                      'from %s to %s', r.due_date, r.order_id, r.tenant, r.transaction_id, t.request #>> '{amount,minor_units}',
                      t.request #>> '{amount,currency}', t.debtor, t.creditor, o.amount, o.currency, o.debtor, o.creditor)
          FROM standing_order_run r
          JOIN standing_order o USING (tenant, order_id)
          JOIN transaction t USING (tenant, transaction_id)
         WHERE (t.debtor, t.creditor, t.request #>> '{amount,minor_units}', t.request #>> '{amount,currency}')
               IS DISTINCT FROM (o.debtor, o.creditor, CAST(o.amount AS text), o.currency)
        """,
    ),
    _rule(
        6,
        """
        SELECT format('due date %s of standing order %s, tenant %s, has %s completed attempts', due_date, order_id, tenant, count(*))
          FROM standing_order_run WHERE outcome = 'completed' GROUP BY tenant, order_id, due_date HAVING count(*) > 1
        """,
    ),
)

EVENT_RULES: Final = (
    # ---- 5: every posted leg is published, and each group applies it once ----
    _rule(
        5,
        """
        SELECT format('transaction %s of tenant %s: its posted %s leg has %s events', d.transaction_id, d.tenant, d.legs, count(e.event_id))
          FROM (SELECT tenant, transaction_id, account_id, type, string_agg(leg, ' and ' ORDER BY leg) AS legs, count(*) AS posted
                  FROM (SELECT *, CASE WHEN leg IN ('debit', 'fee') THEN 'casaflow.casa.debited.v1' ELSE 'casaflow.casa.credited.v1' END
                               AS type
                          FROM decision WHERE outcome = 'posted') AS leg_by_leg
                 GROUP BY 1, 2, 3, 4) AS d
          LEFT JOIN event_outbox e
            ON e.tenant = d.tenant AND e.transaction_id = d.transaction_id AND e.key = d.tenant || '/' || d.account_id AND e.type = d.type
         GROUP BY d.tenant, d.transaction_id, d.account_id, d.type, d.legs, d.posted HAVING count(e.event_id) <> d.posted
        """,
    ),
    _rule(
        5,
        """
        SELECT format('transaction %s of tenant %s is %s, and has the event %s', t.transaction_id, t.tenant, t.status,
                      coalesce(string_agg(e.type, ', '), 'none'))
          FROM transaction t
          LEFT JOIN event_outbox e
            ON e.tenant = t.tenant AND e.transaction_id = t.transaction_id AND e.topic = 'accounting.transaction-finished'
         GROUP BY t.tenant, t.transaction_id
        HAVING coalesce(string_agg(e.type, ', '), '') <> CASE WHEN t.finished_at IS NULL THEN ''
               ELSE 'casaflow.accounting.transaction-' || t.status || '.v1' END
        """,
    ),
    _rule(
        5,
        """
        SELECT format('event %s (%s) of transaction %s, tenant %s, tells of nothing that was decided', e.event_id, e.type, e.transaction_id,
                      e.tenant)
          FROM event_outbox e
          LEFT JOIN decision d
            ON d.tenant = e.tenant AND d.transaction_id = e.transaction_id AND e.key = d.tenant || '/' || d.account_id
           AND d.outcome = 'posted' AND (d.leg IN ('debit', 'fee')) = (e.type = 'casaflow.casa.debited.v1')
          LEFT JOIN transaction t ON t.tenant = e.tenant AND t.transaction_id = e.transaction_id
         WHERE e.type NOT LIKE 'casaflow.casa.hold-%'
           AND CASE e.topic WHEN 'casa.balance-updated' THEN d.tenant IS NULL ELSE t.finished_at IS NULL END
        """,
    ),
    _rule(
        5,
        # What has expired is told by the hold's workflow soon after, so such a hold may lack that one event until then.
        """
        SELECT format('hold %s of tenant %s is %s with %s captures, and has the events %s', h.hold_id, h.tenant, h.status, h.captures,
                      coalesce(e.types, 'none'))
          FROM (SELECT n.tenant, n.hold_id, n.status, n.expires_at, count(d.hold_id) AS captures
                  FROM hold_now n LEFT JOIN decision d ON d.tenant = n.tenant AND d.hold_id = n.hold_id AND d.outcome = 'posted'
                 WHERE n.announced GROUP BY 1, 2, 3, 4) AS h
          LEFT JOIN (SELECT tenant, subject, string_agg(substring(type FROM 'hold-([a-z]+)'), ', ' ORDER BY type) AS types,
                            count(*) FILTER (WHERE type = 'casaflow.casa.hold-authorised.v1') AS authorised,
                            count(*) FILTER (WHERE type = 'casaflow.casa.hold-captured.v1') AS captured,
                            count(*) FILTER (WHERE type = 'casaflow.casa.hold-voided.v1') AS voided,
                            count(*) FILTER (WHERE type = 'casaflow.casa.hold-expired.v1') AS expired
                       FROM event_outbox WHERE type LIKE 'casaflow.casa.hold-%' GROUP BY 1, 2) AS e
            ON e.tenant = h.tenant AND e.subject = CAST(h.hold_id AS text)
         WHERE (e.authorised, e.captured, e.voided) IS DISTINCT FROM (1, h.captures, CAST(h.status = 'voided' AS integer))
            OR e.expired > CAST(h.status = 'expired' AS integer)
            OR (h.status = 'expired' AND e.expired = 0 AND h.expires_at < clock_timestamp() - INTERVAL '5 minutes')
        """,
    ),
    _rule(
        5,
        """
        SELECT format('event %s (%s) tells of hold %s, which tenant %s does not have', e.event_id, e.type, e.subject, e.tenant)
          FROM event_outbox e LEFT JOIN hold h ON h.tenant = e.tenant AND CAST(h.hold_id AS text) = e.subject AND h.announced
         WHERE e.type LIKE 'casaflow.casa.hold-%' AND h.tenant IS NULL
        """,
    ),
    _rule(5, "SELECT format('event %s is stored %s times', event_id, count(*)) FROM event_outbox GROUP BY event_id HAVING count(*) > 1"),
    _rule(
        5,
        # By its workflow, or, where that waits, stands parked or is gone, by a relay soon after.
        """
        SELECT format('event %s (%s) of transaction %s, tenant %s, stored at %s, is not published', e.event_id, e.type, e.transaction_id,
                      e.tenant, e.created_at)
          FROM event_outbox e
         WHERE e.published_at IS NULL AND e.created_at <= :until
         ORDER BY e.created_at
        """,
    ),
    _rule(
        5,
        """
        SELECT format('event %s (%s) of transaction %s, tenant %s: published at %s, but group audit has %s', e.event_id, e.type,
                      e.transaction_id, e.tenant, e.published_at,
                      CASE WHEN r.event_id IS NULL THEN 'not applied it' ELSE 'applied it with other content' END)
          FROM event_outbox e LEFT JOIN audit.record r ON r.event_id = e.event_id
         WHERE e.published_at IS NOT NULL AND e.created_at <= :until
           AND (r.topic, r.key, r.type, r.source, r.subject, r.time, r.payload)
               IS DISTINCT FROM (e.topic, e.key, e.type, e.source, e.subject, e.time, e.payload)
         ORDER BY e.created_at
        """,
    ),
    _rule(
        5,
        """
        SELECT format('event %s, record %s of chain %s: group audit applied what no leg has stored', r.event_id, r.sequence, r.chain)
          FROM audit.record r LEFT JOIN event_outbox e ON e.event_id = r.event_id
         WHERE r.event_id IS NOT NULL AND e.event_id IS NULL AND r.recorded_at <= :until
        """,
    ),
    _rule(
        5,
        """
        SELECT format('record %s of chain %s (event %s) does not follow from the one before it', sequence, chain, event_id)
          FROM (SELECT r.*, audit.record_hash(r) AS own_hash, row_number() OVER by_sequence AS position,
                       lag(hash, 1, decode(repeat('00', 32), 'hex')) OVER by_sequence AS hash_before
                  FROM audit.record r WINDOW by_sequence AS (PARTITION BY chain ORDER BY sequence)) AS records
         WHERE hash <> own_hash OR previous_hash <> hash_before OR sequence <> position
        """,
    ),
    _rule(
        5,
        """
        SELECT format('chain %s ends with record %s, its head says %s', coalesce(h.chain, r.chain), r.sequence, h.sequence)
          FROM audit.chain h
          FULL JOIN (SELECT DISTINCT ON (chain) chain, sequence, hash FROM audit.record ORDER BY chain, sequence DESC) AS r USING (chain)
         WHERE (h.sequence, h.hash) IS DISTINCT FROM (r.sequence, r.hash)
        """,
    ),
)

_LEDGER_COUNTS = text(f"""
    SELECT (SELECT count(*) FROM account) AS accounts,
           (SELECT count(*) FROM ({_CUSTOMER_ENTRIES}) AS e) + (SELECT count(*) FROM gl_entry) AS entries,
           (SELECT count(DISTINCT (tenant, currency)) FROM gl_entry) AS currencies,
           (SELECT count(*) FROM decision WHERE outcome = 'posted') AS posted,
           (SELECT count(*) FROM decision WHERE outcome = 'refused') AS refused,
           (SELECT count(*) FROM online_entry) AS debits,
           (SELECT count(DISTINCT (tenant, account_id)) FROM online_entry) AS debited_accounts
""")  # noqa: S608
_STATUSES = text("SELECT status, count(*) AS transactions FROM transaction GROUP BY status")
# By status, since there is an index of those.
_UNFINISHED = text("""
    SELECT tenant, CAST(transaction_id AS text) AS transaction_id
      FROM transaction
     WHERE status IN ('processing', 'parked') AND (tenant, transaction_id) > (:tenant, CAST(:transaction_id AS uuid))
     ORDER BY tenant, transaction.transaction_id
     LIMIT :at_most
""")
_FIRST_ID: Final = "00000000-0000-0000-0000-000000000000"
_RECORDED = text("""
    SELECT t.tenant, CAST(t.transaction_id AS text) AS transaction_id, t.finished_at IS NOT NULL AS ended
      FROM transaction t JOIN unnest(CAST(:tenants AS text[]), CAST(:transaction_ids AS uuid[])) AS w (tenant, transaction_id)
     USING (tenant, transaction_id)
""")
_EVENT_COUNTS = text("""
    SELECT (SELECT count(*) FROM event_outbox WHERE created_at <= :until) AS events,
           (SELECT count(*) FROM event_outbox WHERE created_at <= :until AND published_at IS NOT NULL) AS published,
           (SELECT count(*) FROM audit.record r JOIN event_outbox e USING (event_id) WHERE e.created_at <= :until) AS applied,
           (SELECT count(*) FROM audit.record WHERE problem IS NOT NULL) AS no_events,
           (SELECT count(*) FROM audit.chain) AS chains
""")
_OFFSETS = text("SELECT topic, partition, next_offset FROM audit.consumer_offset WHERE consumer_group = :consumer_group")
_NOW = text("SELECT clock_timestamp()")


@dataclass
class Violations:
    """What broke the rules of one truth."""

    shown: list[str] = field(default_factory=list)
    total: int = 0

    def add(self, violation: str) -> None:
        """Count one more, and keep it if there is room."""
        self.total += 1
        if len(self.shown) < SHOWN_VIOLATIONS:
            self.shown.append(violation)


@dataclass(frozen=True)
class LedgerEvidence:
    """The ledger at one instant."""

    violations: Mapping[int, Violations]
    """By truth: 1, 2, 3 and 6."""
    counts: Mapping[str, int]
    statuses: Mapping[str, int]
    """Transactions by status."""
    unfinished: int
    """Transactions that have not ended; a workflow must be carrying each of them."""


@dataclass(frozen=True)
class EventEvidence:
    """Events that were stored until some moment, and what the audit group made of them."""

    violations: Violations
    counts: Mapping[str, int]


class PostgresProof:
    """Runs the rules. Reads only, and each method at one instant."""

    def __init__(self, database: Database) -> None:
        """Take a database whose operations may take as long as reading all tables does."""
        self._database = database

    async def now(self) -> dt.datetime:
        """The database's clock.

        Raises:
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> dt.datetime:
            instant: dt.datetime = (await connection.execute(_NOW)).scalar_one()
            return instant

        return await self._database.run(work)

    async def ledger(self) -> LedgerEvidence:
        """Everything about truths 1, 2, 3 and 6 that the tables know.

        Raises:
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> LedgerEvidence:
            await connection.execute(_ONE_SNAPSHOT)
            violations = {truth: Violations() for truth in (1, 2, 3, 6)}
            for rule in LEDGER_RULES:
                await _apply(connection, rule, violations[rule.truth], {})
            counts = (await connection.execute(_LEDGER_COUNTS)).mappings().one()
            statuses = await connection.execute(_STATUSES)
            by_status = {row.status: row.transactions for row in statuses}
            return LedgerEvidence(
                violations=violations,
                counts=dict(counts),
                statuses=by_status,
                unfinished=by_status.get("processing", 0) + by_status.get("parked", 0),
            )

        return await self._database.run(work)

    async def events(self, until: dt.datetime) -> EventEvidence:
        """Everything about truth 5 that the tables know of events stored until a moment.

        Raises:
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> EventEvidence:
            await connection.execute(_ONE_SNAPSHOT)
            violations = Violations()
            for rule in EVENT_RULES:
                await _apply(connection, rule, violations, {"until": until})
            counts = (await connection.execute(_EVENT_COUNTS, {"until": until})).mappings().one()
            return EventEvidence(violations=violations, counts=dict(counts))

        return await self._database.run(work)

    async def unfinished(self, *, at_once: int) -> AsyncIterator[Sequence[tuple[str, str]]]:
        """Tenant and id of the transactions that have not ended, at most `at_once` in memory; each page as of its reading.

        Raises:
            UnavailableError: the database did not answer.
        """
        last = ("", _FIRST_ID)

        async def work(connection: AsyncConnection) -> Sequence[tuple[str, str]]:
            values = {"tenant": last[0], "transaction_id": last[1], "at_most": at_once}
            return [(row.tenant, row.transaction_id) for row in await connection.execute(_UNFINISHED, values)]

        while page := await self._database.run(work):
            yield page
            last = page[-1]

    async def recorded(self, transactions: Collection[tuple[str, str]]) -> dict[tuple[str, str], bool]:
        """Those of the transactions (tenant and id) that are recorded by now, and whether they have ended.

        Raises:
            UnavailableError: the database did not answer.
        """
        asked = sorted(transactions)
        values = {"tenants": [tenant for tenant, _ in asked], "transaction_ids": [identifier for _, identifier in asked]}

        async def work(connection: AsyncConnection) -> dict[tuple[str, str], bool]:
            found = await connection.execute(_RECORDED, values)
            return {(row.tenant, row.transaction_id): row.ended for row in found}

        return await self._database.run(work)

    async def applied_offsets(self, consumer_group: str) -> dict[tuple[str, int], int]:
        """How far a group has come: topic and partition to the next offset.

        Raises:
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> dict[tuple[str, int], int]:
            found = await connection.execute(_OFFSETS, {"consumer_group": consumer_group})
            return {(row.topic, row.partition): row.next_offset for row in found}

        return await self._database.run(work)


async def _apply(connection: AsyncConnection, rule: Rule, violations: Violations, values: Mapping[str, object]) -> None:
    rows = (await connection.execute(rule.query, values if ":until" in rule.query.text else {})).all()
    for row in rows:
        violations.add(row.violation)
    violations.total += rows[0].total - len(rows) if rows else 0
