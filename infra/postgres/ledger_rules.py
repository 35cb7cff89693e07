"""Truths 1, 2, 3 and 6 as rules of the tables, one query for each: a line of text for each violation, with the exact ids."""

from __future__ import annotations

from typing import Final

from infra.postgres.privileges import SAFEGUARDS
from infra.postgres.proof_rules import rule

CUSTOMER_ENTRIES: Final = """
    SELECT tenant, account_id, currency, amount, transaction_id, leg FROM offline_entry
    UNION ALL
    SELECT tenant, account_id, currency, -amount, transaction_id, leg FROM online_entry"""
"""Of both tables, credits positive."""

LEDGER_RULES: Final = (
    # ---- what the truths rest on: nobody can get around what posts ----
    *(rule(truth, query) for truth, query in SAFEGUARDS),
    # ---- 1: no money appears or disappears ----
    rule(
        1,
        f"""
        SELECT format('tenant %s: all entries in %s sum to %s minor units', tenant, currency, sum(amount))
          FROM (SELECT tenant, currency, amount FROM ({CUSTOMER_ENTRIES}) AS customers
                UNION ALL SELECT tenant, currency, amount FROM gl_entry) AS entries
         GROUP BY tenant, currency HAVING sum(amount) <> 0
        """,  # noqa: S608  a constant of this module
    ),
    rule(
        1,
        f"""
        SELECT format('transaction %s of tenant %s: its %s leg sums to %s minor units of %s',
                      transaction_id, tenant, leg, sum(amount), currency)
          FROM (SELECT tenant, transaction_id, leg, currency, amount FROM ({CUSTOMER_ENTRIES}) AS customers
                UNION ALL SELECT tenant, transaction_id, leg, currency, amount FROM gl_entry) AS entries
         GROUP BY tenant, transaction_id, leg, currency HAVING sum(amount) <> 0
        """,  # noqa: S608
    ),
    rule(
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
    rule(
        1,
        f"""
        SELECT format('transaction %s of tenant %s: an entry on account %s, which has no balance', e.transaction_id, e.tenant, e.account_id)
          FROM ({CUSTOMER_ENTRIES}) AS e LEFT JOIN account_balance v USING (tenant, account_id)
         WHERE v.account_id IS NULL OR v.currency <> e.currency
        """,  # noqa: S608
    ),
    rule(
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
    rule(
        2,
        # Each of several creditors has one entry, so has each of those who give it back, and no account has two.
        f"""
        SELECT format('transaction %s of tenant %s: its %s leg has %s entries', e.transaction_id, e.tenant, e.leg, e.entries)
          FROM (SELECT tenant, transaction_id, leg, count(*) AS entries, count(DISTINCT account_id) AS accounts
                  FROM ({CUSTOMER_ENTRIES}) AS both_sides GROUP BY 1, 2, 3 HAVING count(*) > 1) AS e
          LEFT JOIN transaction t USING (tenant, transaction_id)
         WHERE e.entries > e.accounts OR e.leg <> CASE WHEN t.reverses IS NULL THEN 'credit' ELSE 'debit' END
            OR e.entries > coalesce(jsonb_array_length(t.request -> 'shares'), 1)
        """,  # noqa: S608
    ),
    rule(
        2,
        f"""
        SELECT format('transaction %s of tenant %s: its %s leg was decided as %s over %s %s on account %s, and the entry is %s %s',
                      coalesce(d.transaction_id, e.transaction_id), coalesce(d.tenant, e.tenant), coalesce(d.leg, e.leg),
                      coalesce(d.outcome, 'nothing'), d.amount, d.currency, coalesce(d.account_id, e.account_id), e.amount, e.currency)
          FROM (SELECT * FROM decision WHERE outcome = 'posted') AS d
          FULL JOIN (SELECT tenant, account_id, transaction_id, leg, amount, currency FROM ({CUSTOMER_ENTRIES}) AS both_sides) AS e
            ON (e.tenant, e.account_id, e.transaction_id, e.leg) = (d.tenant, d.account_id, d.transaction_id, d.leg)
         WHERE d.leg IS NULL OR e.leg IS NULL OR e.currency <> d.currency
            OR e.amount <> CASE WHEN d.leg IN ('debit', 'fee') THEN -d.amount ELSE d.amount END
        """,  # noqa: S608
    ),
    rule(
        2,
        """
        SELECT format('transaction %s of tenant %s: its %s leg was decided, but the transaction was never recorded',
                      d.transaction_id, d.tenant, d.leg)
          FROM decision d LEFT JOIN transaction t USING (tenant, transaction_id) WHERE t.tenant IS NULL
        """,
    ),
    rule(
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
    rule(
        3,
        """
        SELECT format('debit %s of account %s, tenant %s (transaction %s): %s minor units available after it, without an override',
                      version, account_id, tenant, transaction_id, available_after)
          FROM online_entry WHERE available_after < 0 AND override IS NULL AND hold_id IS NULL -- a capture takes what was set aside
        """,
    ),
    rule(
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
    rule(
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
    rule(
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
    rule(
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
    rule(
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
    rule(
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
    rule(
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
    rule(
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
    rule(
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
    rule(
        6,
        """
        SELECT format('due date %s of standing order %s, tenant %s, attempt %s, is noted as %s, and its transaction %s is %s', r.due_date,
                      r.order_id, r.tenant, r.attempt, coalesce(r.outcome, 'under way'), r.transaction_id, coalesce(t.status, 'not there'))
          FROM standing_order_run r LEFT JOIN transaction t USING (tenant, transaction_id)
         WHERE CASE WHEN r.outcome IS NULL THEN t.finished_at < clock_timestamp() - INTERVAL '5 minutes'
                    ELSE t.status IS DISTINCT FROM r.outcome END
        """,
    ),
    rule(
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
    rule(
        6,
        """
        SELECT format('due date %s of standing order %s, tenant %s, has %s completed attempts', due_date, order_id, tenant, count(*))
          FROM standing_order_run WHERE outcome = 'completed' GROUP BY tenant, order_id, due_date HAVING count(*) > 1
        """,
    ),
)
