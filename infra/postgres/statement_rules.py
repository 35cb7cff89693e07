"""What must be true of the statement group's store: lines are the ledger's entries, and closed statements are the sums of lines."""

from __future__ import annotations

from typing import Final

from infra.postgres.proof_rules import rule

_LEDGER_LINES: Final = """
    SELECT tenant, account_id, transaction_id, leg, posted_at, currency, 'credit' AS direction, amount, value_date,
           CAST(NULL AS bigint) AS version
      FROM offline_entry
    UNION ALL
    SELECT tenant, account_id, transaction_id, leg, posted_at, currency, 'debit', amount, value_date, version FROM online_entry"""

STATEMENT_RULES: Final = (
    rule(
        5,
        f"""
        SELECT format('the %s leg of transaction %s on account %s, tenant %s: the line of group statement says otherwise than the '
                      'entry', l.leg, l.transaction_id, l.account_id, l.tenant)
          FROM statement.line l
          LEFT JOIN ({_LEDGER_LINES}) AS e USING (tenant, account_id, transaction_id, leg)
         WHERE (l.booked_at, l.currency, l.direction, l.amount, l.value_date, l.version)
               IS DISTINCT FROM (e.posted_at, e.currency, e.direction, e.amount, e.value_date, e.version)
        """,  # noqa: S608  constants of this module
    ),
    rule(
        5,
        """
        SELECT format('transaction %s: its %s leg on account %s, tenant %s, is %s lines of group statement', transaction_id, leg,
                      account_id, tenant, count(*))
          FROM statement.line GROUP BY tenant, account_id, transaction_id, leg HAVING count(*) > 1
        """,
    ),
    rule(
        5,
        """
        SELECT format('event %s (%s) of transaction %s, tenant %s: group statement has applied it, and has no line of it', e.event_id,
                      e.type, e.transaction_id, e.tenant)
          FROM statement.applied_event a
          JOIN event_outbox e USING (event_id)
          LEFT JOIN statement.line l USING (event_id)
          LEFT JOIN statement.held_event h ON h.event_id = a.event_id AND h.status = 'skipped'
         WHERE e.type IN ('casaflow.casa.credited.v1', 'casaflow.casa.debited.v1') AND l.event_id IS NULL AND h.event_id IS NULL
        """,
    ),
    rule(
        5,
        """
        SELECT format('statement %s of account %s, tenant %s, does not follow from the one before it', number, account_id, tenant)
          FROM (SELECT *, row_number() OVER by_number AS position, lag(until_at) OVER by_number AS until_before,
                       lag(closing_balance, 1, 0) OVER by_number AS balance_before
                  FROM statement.closed WINDOW by_number AS (PARTITION BY tenant, account_id ORDER BY number)) AS c
         WHERE number <> position OR opening_balance <> balance_before OR since <> coalesce(until_before, since)
        """,
    ),
    rule(
        5,
        """
        SELECT format('statement %s of account %s, tenant %s: %s lines, credits %s and debits %s, its lines say %s, %s and %s', c.number,
                      c.account_id, c.tenant, c.lines, c.credited, c.debited, l.lines, l.credited, l.debited)
          FROM statement.closed c
         CROSS JOIN LATERAL (SELECT count(*) AS lines, coalesce(sum(amount) FILTER (WHERE direction = 'credit'), 0) AS credited,
                                    coalesce(sum(amount) FILTER (WHERE direction = 'debit'), 0) AS debited
                               FROM statement.line l
                              WHERE l.tenant = c.tenant AND l.account_id = c.account_id AND l.booked_at >= c.since
                                AND l.booked_at < c.until_at) AS l
         WHERE (c.lines, c.credited, c.debited) IS DISTINCT FROM (l.lines, l.credited, l.debited)
        """,
    ),
)
