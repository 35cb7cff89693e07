"""Truth 5 as rules of the tables, one query for each: what is posted is stored as an event, published, and applied once by each group."""

from __future__ import annotations

from typing import Final

from infra.postgres.proof_rules import rule

OUTBOX_RULES: Final = (
    # ---- 5: every posted leg is published, and each group applies it once ----
    rule(
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
    rule(
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
    rule(
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
    rule(
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
    rule(
        5,
        """
        SELECT format('event %s (%s) tells of hold %s, which tenant %s does not have', e.event_id, e.type, e.subject, e.tenant)
          FROM event_outbox e LEFT JOIN hold h ON h.tenant = e.tenant AND CAST(h.hold_id AS text) = e.subject AND h.announced
         WHERE e.type LIKE 'casaflow.casa.hold-%' AND h.tenant IS NULL
        """,
    ),
    rule(5, "SELECT format('event %s is stored %s times', event_id, count(*)) FROM event_outbox GROUP BY event_id HAVING count(*) > 1"),
    rule(
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
)
"""What is posted is stored as an event, and published."""

CHAIN_RULES: Final = (
    rule(
        5,
        """
        SELECT format('record %s of chain %s (event %s) does not follow from the one before it', sequence, chain, event_id)
          FROM (SELECT r.*, audit.record_hash(r) AS own_hash, row_number() OVER by_sequence AS position,
                       lag(hash, 1, decode(repeat('00', 32), 'hex')) OVER by_sequence AS hash_before
                  FROM audit.record r WINDOW by_sequence AS (PARTITION BY chain ORDER BY sequence)) AS records
         WHERE hash <> own_hash OR previous_hash <> hash_before OR sequence <> position
        """,
    ),
    rule(
        5,
        """
        SELECT format('chain %s ends with record %s, its head says %s', coalesce(h.chain, r.chain), r.sequence, h.sequence)
          FROM audit.chain h
          FULL JOIN (SELECT DISTINCT ON (chain) chain, sequence, hash FROM audit.record ORDER BY chain, sequence DESC) AS r USING (chain)
         WHERE (h.sequence, h.hash) IS DISTINCT FROM (r.sequence, r.hash)
        """,
    ),
)
"""No record was changed, is missing or was inserted."""

AUDIT_RULES: Final = (
    rule(
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
    rule(
        5,
        """
        SELECT format('event %s, record %s of chain %s: group audit applied what no leg has stored', r.event_id, r.sequence, r.chain)
          FROM audit.record r LEFT JOIN event_outbox e ON e.event_id = r.event_id
         WHERE r.event_id IS NOT NULL AND e.event_id IS NULL AND r.recorded_at <= :until
        """,
    ),
    *CHAIN_RULES,
)
"""Group audit has appended each published event once, and its chains are whole."""

EVENT_RULES: Final = (*OUTBOX_RULES, *AUDIT_RULES)
