-- What posts. One call opens the legs of a batch (locks, then reads in new statements), Python decides by the rules of `ledger`,
-- one call records what was decided. See decision records 0003 and 0007.

-- The account's rules lock. Credits and debits share it; a change of the account's rules takes it alone.
CREATE FUNCTION rules_lock_key(p_tenant text, p_account_id text) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT hashtextextended(p_tenant || '/' || p_account_id, 0) $$;

-- Open the legs of a batch, given as parallel arrays. Lock order everywhere: online rows, rules locks, transaction rows, decisions, each sorted.
-- READ COMMITTED gives every statement in here a snapshot of its own, taken after the locks before it were granted. That is the point:
-- one statement that both locked and summed would re-read the row but keep its old snapshot, and make money.
CREATE FUNCTION open_legs(p_tenants text[], p_account_ids text[], p_transaction_ids uuid[], p_legs text[], p_debits boolean[])
RETURNS TABLE (
    ordinal bigint, currency text, status text, overdraft_limit bigint, ledger numeric, held numeric, version bigint,
    fingerprint text, stored jsonb, decided_at timestamptz
) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    -- Folding pays for itself from this many credits on; fewer are summed by each debit and by the view.
    fold_from CONSTANT bigint := 64;
    horizon   xid8;
    debtor    record;
BEGIN
    IF true = ANY (p_debits) THEN
        PERFORM 1
           FROM online_balance o
           JOIN (SELECT DISTINCT l.tenant, l.account_id
                   FROM unnest(p_tenants, p_account_ids, p_debits) AS l (tenant, account_id, debit) WHERE l.debit) AS d
          USING (tenant, account_id)
          ORDER BY o.tenant, o.account_id
            FOR UPDATE OF o;
    END IF;

    PERFORM pg_advisory_xact_lock_shared(k.key)
       FROM (SELECT DISTINCT rules_lock_key(l.tenant, l.account_id) AS key
               FROM unnest(p_tenants, p_account_ids) AS l (tenant, account_id) ORDER BY 1) AS k;

    IF true = ANY (p_debits) THEN
        -- Every transaction below the horizon has ended for good, so its credits can be folded. Taken after the locks.
        horizon := pg_snapshot_xmin(pg_current_snapshot());
        FOR debtor IN
            SELECT o.tenant, o.account_id, s.amount
              FROM (SELECT DISTINCT l.tenant, l.account_id
                      FROM unnest(p_tenants, p_account_ids, p_debits) AS l (tenant, account_id, debit) WHERE l.debit) AS d
              JOIN online_balance o USING (tenant, account_id)
             CROSS JOIN LATERAL (
                   SELECT count(*) AS credits, coalesce(sum(e.amount), 0) AS amount
                     FROM offline_entry e
                    WHERE e.tenant = o.tenant AND e.account_id = o.account_id AND e.xid >= o.folded_until AND e.xid < horizon) AS s
             WHERE s.credits >= fold_from
        LOOP
            UPDATE online_balance o
               SET folded = o.folded + debtor.amount, folded_until = horizon
             WHERE o.tenant = debtor.tenant AND o.account_id = debtor.account_id;
        END LOOP;
    END IF;

    RETURN QUERY
    WITH legs AS MATERIALIZED (
        SELECT l.*
          FROM unnest(p_tenants, p_account_ids, p_transaction_ids, p_legs, p_debits)
               WITH ORDINALITY AS l (tenant, account_id, transaction_id, leg, debit, ordinal)),
    -- Once for each debtor, however many debits it has. A credit does not read the balance: it could not be refused for it.
    debtors AS MATERIALIZED (
        SELECT v.tenant, v.account_id, v.ledger, v.held, o.version
          FROM (SELECT DISTINCT l.tenant, l.account_id FROM legs l WHERE l.debit) AS d
         CROSS JOIN LATERAL (
               SELECT b.* FROM account_balance b WHERE b.tenant = d.tenant AND b.account_id = d.account_id) AS v
          JOIN online_balance o ON o.tenant = d.tenant AND o.account_id = d.account_id)
    SELECT l.ordinal, a.currency, a.status, a.overdraft_limit, b.ledger, b.held, b.version, t.fingerprint, to_jsonb(d), clock_timestamp()
      FROM legs l
      -- An internal account is as good as unknown here: it can't be debtor or creditor of a request.
      LEFT JOIN account a ON a.tenant = l.tenant AND a.account_id = l.account_id AND a.kind <> 'internal'
      LEFT JOIN transaction t ON t.tenant = l.tenant AND t.transaction_id = l.transaction_id
      LEFT JOIN decision d
             ON d.tenant = l.tenant AND d.account_id = l.account_id AND d.transaction_id = l.transaction_id AND d.leg = l.leg
      LEFT JOIN debtors b ON l.debit AND b.tenant = l.tenant AND b.account_id = l.account_id
     ORDER BY l.ordinal;
END $$;

-- One leg as it was decided.
CREATE TYPE decided_leg AS (
    ordinal bigint, tenant text, transaction_id uuid, fingerprint text, kind text, debtor text, creditor text, request jsonb,
    submitted_by text, submitted_at timestamptz, status text, transaction_reason jsonb, finished_at timestamptz,
    account_id text, leg text, debit boolean, outcome text, reason jsonb, amount bigint, currency text, conversion jsonb,
    value_date date, decided_at timestamptz, version bigint, ledger_after numeric, available_after numeric
);
-- An internal entry of a leg, or an event of it; `ordinal` is the leg's.
CREATE TYPE decided_gl_entry AS (ordinal bigint, account_id text, currency text, amount bigint);
CREATE TYPE decided_event AS (
    ordinal bigint, position smallint, event_id uuid, topic text, key text, data text, type text, source text, subject text, time timestamptz
);

-- Record what was decided: one element of p_legs for each leg, of p_gl for each internal entry, of p_events for each event.
-- Returns a row for each leg. conflict: the id is in use with other content, nothing was written, the caller rolls back.
-- recorded = false: another connection had decided this leg first, or had ended the transaction without it; nothing of the leg was written,
-- and the caller reads what is stored in a new statement (this one's snapshot may not see it).
CREATE FUNCTION record_legs(p_legs json, p_gl json, p_events json) RETURNS TABLE (ordinal bigint, conflict boolean, recorded boolean)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    legs     decided_leg[]; -- sorted as the lock order asks
    ordinals bigint[];      -- of all of them
    later    decided_leg[]; -- those whose transaction was there before this call
    won      decided_leg[]; -- those that this call has decided
BEGIN
    -- Parsed once; the statements below only unpack it.
    SELECT array_agg(l ORDER BY l.tenant, l.transaction_id), array_agg(l.ordinal) INTO legs, ordinals
      FROM json_populate_recordset(CAST(NULL AS decided_leg), p_legs) AS l;

    WITH inserted AS (
        INSERT INTO transaction (tenant, transaction_id, fingerprint, kind, debtor, creditor, request, status, reason, rate,
                                 submitted_by, submitted_at, finished_at)
        SELECT l.tenant, l.transaction_id, l.fingerprint, l.kind, l.debtor, l.creditor, l.request, l.status, l.transaction_reason,
               l.conversion, l.submitted_by, l.submitted_at, l.finished_at
          FROM unnest(legs) AS l
            ON CONFLICT DO NOTHING
        RETURNING tenant, transaction_id)
    SELECT coalesce(array_agg(l ORDER BY l.tenant, l.transaction_id), '{}') INTO later
      FROM unnest(legs) AS l LEFT JOIN inserted i USING (tenant, transaction_id) WHERE i.tenant IS NULL;

    IF later <> '{}' THEN
        -- A new statement, so that a row which won the race against this insert is seen.
        IF EXISTS (SELECT 1 FROM unnest(later) AS l JOIN transaction t USING (tenant, transaction_id) WHERE t.fingerprint <> l.fingerprint) THEN
            RETURN QUERY
            SELECT l.ordinal, coalesce(t.fingerprint <> l.fingerprint, false), false
              FROM unnest(legs) AS l LEFT JOIN unnest(later) AS w USING (ordinal)
              LEFT JOIN transaction t ON t.tenant = w.tenant AND t.transaction_id = w.transaction_id;
            RETURN;
        END IF;
        -- A transaction that has ended takes no further leg. A rejection may overtake a leg of a lost attempt: then nothing may be posted any
        -- more. The lock keeps the status as it is read here.
        PERFORM 1 FROM unnest(later) AS l JOIN transaction t USING (tenant, transaction_id)
          ORDER BY t.tenant, t.transaction_id FOR NO KEY UPDATE OF t;
        SELECT array_agg(l) INTO legs
          FROM unnest(legs) AS l LEFT JOIN transaction t
            ON t.tenant = l.tenant AND t.transaction_id = l.transaction_id AND l.ordinal IN (SELECT w.ordinal FROM unnest(later) AS w)
         WHERE t.status IS NULL OR t.status IN ('processing', 'parked');
    END IF;

    WITH inserted AS (
        INSERT INTO decision (tenant, account_id, transaction_id, leg, outcome, reason, amount, currency, conversion, value_date,
                              decided_at, version, ledger_after, available_after)
        SELECT l.tenant, l.account_id, l.transaction_id, l.leg, l.outcome, l.reason, l.amount, l.currency, l.conversion, l.value_date,
               l.decided_at, l.version, l.ledger_after, l.available_after
          FROM unnest(legs) AS l
         ORDER BY l.tenant, l.account_id, l.transaction_id, l.leg
            ON CONFLICT DO NOTHING
        RETURNING tenant, account_id, transaction_id, leg)
    SELECT coalesce(array_agg(l), '{}') INTO won
      FROM unnest(legs) AS l JOIN inserted USING (tenant, account_id, transaction_id, leg);

    IF later <> '{}' THEN
        -- A later leg adds to the row, even when the status stays: a refused credit says why, and at which rate.
        UPDATE transaction t
           SET status = l.status, reason = coalesce(l.transaction_reason, t.reason), rate = coalesce(t.rate, l.conversion),
               finished_at = l.finished_at
          FROM unnest(won) AS l
         WHERE t.tenant = l.tenant AND t.transaction_id = l.transaction_id AND t.status IN ('processing', 'parked')
           AND l.ordinal IN (SELECT w.ordinal FROM unnest(later) AS w);
    END IF;

    INSERT INTO offline_entry (tenant, account_id, currency, amount, transaction_id, leg, posted_at, value_date)
    SELECT l.tenant, l.account_id, l.currency, l.amount, l.transaction_id, l.leg, l.decided_at, l.value_date
      FROM unnest(won) AS l
     WHERE l.outcome = 'posted' AND NOT l.debit;

    INSERT INTO online_entry (tenant, account_id, version, currency, amount, balance_after, available_after, transaction_id, leg,
                              posted_at, value_date)
    SELECT l.tenant, l.account_id, l.version, l.currency, l.amount, l.ledger_after, l.available_after, l.transaction_id, l.leg,
           l.decided_at, l.value_date
      FROM unnest(won) AS l
     WHERE l.outcome = 'posted' AND l.debit;

    UPDATE online_balance o
       SET debited = o.debited + d.amount, version = d.version
      FROM (SELECT l.tenant, l.account_id, sum(l.amount) AS amount, max(l.version) AS version
              FROM unnest(won) AS l
             WHERE l.outcome = 'posted' AND l.debit
             GROUP BY l.tenant, l.account_id) AS d
     WHERE o.tenant = d.tenant AND o.account_id = d.account_id;

    INSERT INTO gl_entry (tenant, account_id, currency, amount, transaction_id, leg, customer_account_id, posted_at)
    SELECT l.tenant, g.account_id, g.currency, g.amount, l.transaction_id, l.leg, l.account_id, l.decided_at
      FROM unnest(won) AS l
      JOIN json_populate_recordset(CAST(NULL AS decided_gl_entry), p_gl) AS g USING (ordinal)
     WHERE l.outcome = 'posted';

    INSERT INTO event_outbox (event_id, topic, key, payload, type, source, subject, time, tenant, transaction_id, position)
    SELECT e.event_id, e.topic, e.key, e.data, e.type, e.source, e.subject, e.time, l.tenant, l.transaction_id, e.position
      FROM unnest(won) AS l
      JOIN json_populate_recordset(CAST(NULL AS decided_event), p_events) AS e USING (ordinal);

    RETURN QUERY
    SELECT o.ordinal, false, w.ordinal IS NOT NULL
      FROM unnest(ordinals) AS o (ordinal) LEFT JOIN unnest(won) AS w USING (ordinal)
     ORDER BY o.ordinal;
END $$;
