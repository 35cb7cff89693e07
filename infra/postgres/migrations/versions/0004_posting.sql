-- What posts, in batches. The caller opens the accounts of a batch (locks first, then reads in new statements), decides by the rules of
-- `ledger`, and records what was decided. See decision records 0003, 0007 and 0010.
--
-- Errors of our own: CF001, another connection was faster with something of this batch, so it is decided anew; CF002, the database was
-- restored into another cluster, so nothing is posted until `casaflow refold`.
--
-- Lists of values travel as columns: one text for each column, its values joined by the unit separator (U+001F, which occurs in no value:
-- JSON escapes it, and ids have none), an empty value for NULL. Nothing is quoted or parsed but the values themselves.

DROP FUNCTION record_legs(json, json, json);
DROP FUNCTION open_legs(text[], text[], uuid[], text[], boolean[]);
DROP TYPE decided_leg, decided_gl_entry, decided_event;

CREATE FUNCTION column_values(p_column text) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT string_to_array(p_column, E'\x1f', '')
$$;

-- Open the accounts of a batch, each once. p_debited says which of them are debited (or held on): those are decided one by one, under
-- their online row. Lock order everywhere: online rows, rules locks, transaction rows, decisions, each sorted.
-- READ COMMITTED gives every statement in here a snapshot of its own, taken after the locks before it were granted. That is the point:
-- one statement that both locked and summed would re-read the row but keep its old snapshot, and make money.
-- The balance is read where the row is locked; elsewhere it is NULL, since a credit can't be refused for it.
CREATE FUNCTION open_accounts(p_tenants text[], p_account_ids text[], p_debited boolean[])
RETURNS TABLE (
    tenant text, account_id text, currency text, status text, overdraft_limit bigint, minimum_balance bigint, maximum_balance bigint,
    transaction_limit bigint, daily_limit bigint, monthly_limit bigint, local_day date, spent_on_day numeric, spent_in_month numeric,
    locked boolean, ledger numeric, held numeric, version bigint, opened_at timestamptz
) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    -- Folding pays for itself from this many credits on; fewer are summed by each debit and by the view.
    fold_from CONSTANT bigint := 64;
    locks     text[];
    debtor    record;
BEGIN
    -- An xid of its own before any time is taken: whoever asks which bookings are settled looks at open transactions that have one.
    PERFORM pg_current_xact_id();
    IF (SELECT c.system_identifier FROM ledger_cluster c) IS DISTINCT FROM (SELECT s.system_identifier FROM pg_control_system() s) THEN
        RAISE EXCEPTION 'this ledger was restored into another cluster; run `casaflow refold` before posting' USING ERRCODE = 'CF002';
    END IF;

    SELECT array_agg(l.tenant || '/' || l.account_id) INTO locks
      FROM (SELECT o.tenant, o.account_id
              FROM unnest(p_tenants, p_account_ids, p_debited) AS w (tenant, account_id, debited)
              JOIN account a USING (tenant, account_id)
              JOIN online_balance o USING (tenant, account_id)
             WHERE w.debited OR a.maximum_balance IS NOT NULL
             ORDER BY o.tenant, o.account_id
               FOR NO KEY UPDATE OF o) AS l;

    PERFORM pg_advisory_xact_lock_shared(k.key)
       FROM (SELECT DISTINCT rules_lock_key(w.tenant, w.account_id) AS key
               FROM unnest(p_tenants, p_account_ids) AS w (tenant, account_id) ORDER BY 1) AS k;

    IF locks IS NOT NULL THEN
        FOR debtor IN
            SELECT o.tenant, o.account_id, s.amount, pg_current_snapshot() AS snapshot
              FROM unnest(p_tenants, p_account_ids) AS w (tenant, account_id)
              JOIN online_balance o USING (tenant, account_id)
             CROSS JOIN LATERAL credit_tail(o.tenant, o.account_id, o.folded_until, o.folded_except) AS s
             WHERE o.tenant || '/' || o.account_id = ANY (locks) AND s.credits >= fold_from
        LOOP
            PERFORM fold_account(debtor.tenant, debtor.account_id, debtor.amount, debtor.snapshot);
        END LOOP;
    END IF;

    RETURN QUERY
    SELECT a.tenant, a.account_id, a.currency, a.status, a.overdraft_limit, a.minimum_balance, a.maximum_balance, a.transaction_limit,
           a.daily_limit, a.monthly_limit, d.local_day,
           CASE WHEN o.spending_day = d.local_day THEN o.spent_on_day ELSE 0 END,
           CASE WHEN date_trunc('month', o.spending_day) = date_trunc('month', d.local_day) THEN o.spent_in_month ELSE 0 END,
           o.tenant IS NOT NULL, b.ledger, b.held, o.version, n.now
      FROM (SELECT clock_timestamp() AS now) AS n
     CROSS JOIN unnest(p_tenants, p_account_ids) AS w (tenant, account_id)
      -- An internal account is as good as unknown here: it can't be debtor or creditor of a request.
      JOIN account a ON a.tenant = w.tenant AND a.account_id = w.account_id AND a.kind <> 'internal'
     CROSS JOIN LATERAL (SELECT CAST(n.now AT TIME ZONE a.time_zone AS date) AS local_day) AS d
      LEFT JOIN online_balance o
             ON o.tenant = w.tenant AND o.account_id = w.account_id AND o.tenant || '/' || o.account_id = ANY (locks)
      LEFT JOIN LATERAL (
           SELECT v.ledger, v.held FROM account_balance v WHERE v.tenant = o.tenant AND v.account_id = o.account_id) AS b ON true;
END $$;

-- Move what a snapshot sees of an account's credits into its online row, which the caller has locked. The fold's own transaction may still
-- insert credits after it, so it counts as in progress.
CREATE FUNCTION fold_account(p_tenant text, p_account_id text, p_amount numeric, p_snapshot pg_snapshot) RETURNS void
LANGUAGE sql VOLATILE AS $$
    UPDATE online_balance
       SET folded = folded + p_amount, folded_until = pg_snapshot_xmax(p_snapshot),
           folded_except = ARRAY(SELECT pg_snapshot_xip(p_snapshot) UNION SELECT pg_current_xact_id())
     WHERE tenant = p_tenant AND account_id = p_account_id
$$;

-- What is known of legs: a row for each whose transaction was recorded before.
CREATE FUNCTION known_legs(p_tenants text[], p_account_ids text[], p_transaction_ids uuid[], p_legs text[])
RETURNS TABLE (ordinal bigint, fingerprint text, status text, reason jsonb, finished_at timestamptz, stored jsonb)
LANGUAGE sql STABLE AS $$
    SELECT l.ordinal, t.fingerprint, t.status, t.reason, t.finished_at, to_jsonb(d)
      FROM unnest(p_tenants, p_account_ids, p_transaction_ids, p_legs) WITH ORDINALITY
           AS l (tenant, account_id, transaction_id, leg, ordinal)
      JOIN transaction t USING (tenant, transaction_id)
      LEFT JOIN decision d USING (tenant, account_id, transaction_id, leg)
$$;

-- The holds that captures draw on; their accounts' online rows are locked.
CREATE FUNCTION open_holds(p_tenants text[], p_account_ids text[], p_hold_ids uuid[])
RETURNS TABLE (tenant text, account_id text, hold_id uuid, amount bigint, captured bigint, status text, expired boolean)
LANGUAGE sql VOLATILE AS $$
    SELECT h.tenant, h.account_id, h.hold_id, h.amount, h.captured, h.status, h.expires_at <= clock_timestamp()
      FROM unnest(p_tenants, p_account_ids, p_hold_ids) AS w (tenant, account_id, hold_id)
      JOIN hold h USING (tenant, account_id, hold_id)
$$;

-- The customer accounts that a request names.
CREATE FUNCTION transaction_accounts(p_request jsonb) RETURNS TABLE (account_id text) LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT p_request -> 'debtor' ->> 'account_id' WHERE jsonb_typeof(p_request -> 'debtor') = 'object'
    UNION
    SELECT p_request -> 'creditor' ->> 'account_id' WHERE jsonb_typeof(p_request -> 'creditor') = 'object'
    UNION
    SELECT s -> 'account' ->> 'account_id'
      FROM jsonb_array_elements(CASE jsonb_typeof(p_request -> 'shares') WHEN 'array' THEN p_request -> 'shares' ELSE '[]' END) AS s
$$;

-- The transactions that reversals name, locked in order, so that two of the same one are decided one after the other.
CREATE FUNCTION lock_originals(p_tenants text[], p_transaction_ids uuid[]) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM 1 FROM unnest(p_tenants, p_transaction_ids) AS w (tenant, transaction_id) JOIN transaction t USING (tenant, transaction_id)
      ORDER BY t.tenant, t.transaction_id FOR NO KEY UPDATE OF t;
END $$;
CREATE FUNCTION open_originals(p_tenants text[], p_transaction_ids uuid[])
RETURNS TABLE (tenant text, transaction_id uuid, status text, request jsonb, reversed_amount bigint, legs jsonb)
LANGUAGE sql STABLE AS $$
    SELECT t.tenant, t.transaction_id, t.status, t.request, t.reversed_amount,
           (SELECT coalesce(jsonb_agg(jsonb_build_object('account_id', d.account_id, 'leg', d.leg, 'amount', d.amount, 'currency', d.currency,
                                                         'reversed', d.reversed)), '[]')
              FROM decision d
             WHERE d.tenant = t.tenant AND d.transaction_id = t.transaction_id AND d.outcome = 'posted'
               AND d.account_id IN (SELECT a.account_id FROM transaction_accounts(t.request) AS a (account_id)))
      FROM unnest(p_tenants, p_transaction_ids) AS w (tenant, transaction_id) JOIN transaction t USING (tenant, transaction_id)
$$;
-- Record a batch as it was decided. Each argument holds the columns of one table, sorted as the lock order asks; empty arrays where there is
-- nothing. The only way to write an entry: it refuses legs that don't sum to zero with their internal side, and currencies that aren't the
-- account's. A leg that somebody else decided meanwhile violates a key, or raises CF001; either way nothing is written.
CREATE FUNCTION record_legs(
    p_transactions text[], p_later text[], p_originals text[], p_decisions text[], p_gl text[], p_balances text[], p_holds text[],
    p_events text[]
) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    written bigint;
    wrong   text;
BEGIN
    IF cardinality(p_transactions) > 0 THEN
        INSERT INTO transaction (tenant, transaction_id, fingerprint, kind, debtor, creditor, request, status, reason, rate,
                                 submitted_by, submitted_at, finished_at, reverses)
        SELECT t.* FROM unnest(
            column_values(p_transactions[1]), CAST(column_values(p_transactions[2]) AS uuid[]), column_values(p_transactions[3]),
            column_values(p_transactions[4]), column_values(p_transactions[5]), column_values(p_transactions[6]),
            CAST(column_values(p_transactions[7]) AS jsonb[]), column_values(p_transactions[8]),
            CAST(column_values(p_transactions[9]) AS jsonb[]), CAST(column_values(p_transactions[10]) AS jsonb[]),
            column_values(p_transactions[11]), CAST(column_values(p_transactions[12]) AS timestamptz[]),
            CAST(column_values(p_transactions[13]) AS timestamptz[]), CAST(column_values(p_transactions[14]) AS uuid[])) AS t;
    END IF;

    IF cardinality(p_later) > 0 THEN
        -- A transaction that has ended takes no further leg: a rejection may overtake a leg of a lost attempt. The lock keeps the status.
        PERFORM 1 FROM unnest(column_values(p_later[1]), CAST(column_values(p_later[2]) AS uuid[])) AS l (tenant, transaction_id)
          JOIN transaction t USING (tenant, transaction_id) ORDER BY t.tenant, t.transaction_id FOR NO KEY UPDATE OF t;
        UPDATE transaction t
           -- A later leg adds to the row, even when the status stays: a refused credit says why, and at which rate.
           SET status = l.status, reason = coalesce(l.reason, t.reason), rate = coalesce(t.rate, l.rate), finished_at = l.finished_at
          FROM unnest(column_values(p_later[1]), CAST(column_values(p_later[2]) AS uuid[]), column_values(p_later[3]),
                      column_values(p_later[4]), CAST(column_values(p_later[5]) AS jsonb[]), CAST(column_values(p_later[6]) AS jsonb[]),
                      CAST(column_values(p_later[7]) AS timestamptz[]))
               AS l (tenant, transaction_id, fingerprint, status, reason, rate, finished_at)
         WHERE t.tenant = l.tenant AND t.transaction_id = l.transaction_id AND t.fingerprint = l.fingerprint
           AND t.status IN ('processing', 'parked');
        GET DIAGNOSTICS written = ROW_COUNT;
        IF written <> cardinality(column_values(p_later[2])) THEN
            RAISE EXCEPTION 'a transaction has ended, is unknown or has other content' USING ERRCODE = 'CF001';
        END IF;
    END IF;

    IF cardinality(p_originals) > 0 THEN
        -- What reversals take back: of each original its sum, then of each of its legs. The CHECKs keep both within the amounts.
        UPDATE transaction t SET reversed_amount = t.reversed_amount + r.amount
          FROM unnest(column_values(p_originals[1]), CAST(column_values(p_originals[2]) AS uuid[]), column_values(p_originals[3]),
                      CAST(column_values(p_originals[5]) AS bigint[])) AS r (tenant, transaction_id, account_id, amount)
         WHERE r.account_id IS NULL AND t.tenant = r.tenant AND t.transaction_id = r.transaction_id;
        UPDATE decision d SET reversed = d.reversed + r.amount
          FROM unnest(column_values(p_originals[1]), CAST(column_values(p_originals[2]) AS uuid[]), column_values(p_originals[3]),
                      column_values(p_originals[4]), CAST(column_values(p_originals[5]) AS bigint[]))
               AS r (tenant, transaction_id, account_id, leg, amount)
         WHERE d.tenant = r.tenant AND d.account_id = r.account_id AND d.transaction_id = r.transaction_id AND d.leg = r.leg;
    END IF;

    WITH decided AS (
        INSERT INTO decision (tenant, account_id, transaction_id, leg, outcome, reason, amount, currency, conversion, value_date,
                              decided_at, version, ledger_after, available_after, hold_id, override)
        SELECT d.* FROM unnest(
            column_values(p_decisions[1]), column_values(p_decisions[2]), CAST(column_values(p_decisions[3]) AS uuid[]),
            column_values(p_decisions[4]), column_values(p_decisions[5]), CAST(column_values(p_decisions[6]) AS jsonb[]),
            CAST(column_values(p_decisions[7]) AS bigint[]), column_values(p_decisions[8]),
            CAST(column_values(p_decisions[9]) AS jsonb[]), CAST(column_values(p_decisions[10]) AS date[]),
            CAST(column_values(p_decisions[11]) AS timestamptz[]), CAST(column_values(p_decisions[12]) AS bigint[]),
            CAST(column_values(p_decisions[13]) AS numeric[]), CAST(column_values(p_decisions[14]) AS numeric[]),
            CAST(column_values(p_decisions[15]) AS uuid[]), CAST(column_values(p_decisions[16]) AS jsonb[])) AS d
        RETURNING tenant, account_id, transaction_id, leg, outcome, amount, currency, value_date, decided_at, version, ledger_after,
                  available_after, hold_id, override),
    credited AS (
        INSERT INTO offline_entry (tenant, account_id, currency, amount, transaction_id, leg, posted_at, value_date)
        SELECT d.tenant, d.account_id, d.currency, d.amount, d.transaction_id, d.leg, d.decided_at, d.value_date
          FROM decided d WHERE d.outcome = 'posted' AND d.version IS NULL),
    debited AS (
        INSERT INTO online_entry (tenant, account_id, version, currency, amount, balance_after, available_after, override, transaction_id,
                                  leg, posted_at, value_date, hold_id)
        SELECT d.tenant, d.account_id, d.version, d.currency, d.amount, d.ledger_after, d.available_after, d.override, d.transaction_id,
               d.leg, d.decided_at, d.value_date, d.hold_id
          FROM decided d WHERE d.outcome = 'posted' AND d.version IS NOT NULL),
    internal AS (
        INSERT INTO gl_entry (tenant, customer_account_id, transaction_id, leg, account_id, currency, amount, posted_at)
        SELECT g.* FROM unnest(
            column_values(p_gl[1]), column_values(p_gl[2]), CAST(column_values(p_gl[3]) AS uuid[]), column_values(p_gl[4]),
            column_values(p_gl[5]), column_values(p_gl[6]), CAST(column_values(p_gl[7]) AS bigint[]),
            CAST(column_values(p_gl[8]) AS timestamptz[])) AS g
        RETURNING tenant, customer_account_id, transaction_id, leg, currency, amount)
    SELECT coalesce(
               (SELECT format('the %s leg of transaction %s on account %s sums to %s minor units of %s', leg, transaction_id, account_id,
                              sum(amount), currency)
                  FROM (SELECT tenant, account_id, transaction_id, leg, currency, CASE WHEN version IS NULL THEN amount ELSE -amount END AS amount
                          FROM decided WHERE outcome = 'posted'
                         UNION ALL
                        SELECT tenant, customer_account_id, transaction_id, leg, currency, amount FROM internal) AS both_sides
                 GROUP BY tenant, account_id, transaction_id, leg, currency HAVING sum(amount) <> 0
                 LIMIT 1),
               (SELECT format('account %s of tenant %s is not kept in %s', d.account_id, d.tenant, d.currency)
                  FROM (SELECT DISTINCT tenant, account_id, currency FROM decided) AS d LEFT JOIN account a USING (tenant, account_id)
                 WHERE a.currency IS DISTINCT FROM d.currency
                 LIMIT 1))
      INTO wrong;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION '%', wrong USING ERRCODE = 'integrity_constraint_violation';
    END IF;

    IF cardinality(p_balances) > 0 THEN
        UPDATE online_balance o
           SET debited = o.debited + b.debited, version = b.version_after, held = o.held + b.held, spending_day = b.spending_day,
               spent_on_day = b.spent_on_day, spent_in_month = b.spent_in_month
          FROM unnest(column_values(p_balances[1]), column_values(p_balances[2]), CAST(column_values(p_balances[3]) AS numeric[]),
                      CAST(column_values(p_balances[4]) AS bigint[]), CAST(column_values(p_balances[5]) AS bigint[]),
                      CAST(column_values(p_balances[6]) AS numeric[]), CAST(column_values(p_balances[7]) AS date[]),
                      CAST(column_values(p_balances[8]) AS numeric[]), CAST(column_values(p_balances[9]) AS numeric[]))
               AS b (tenant, account_id, debited, version_before, version_after, held, spending_day, spent_on_day, spent_in_month)
         WHERE o.tenant = b.tenant AND o.account_id = b.account_id AND o.version = b.version_before;
        GET DIAGNOSTICS written = ROW_COUNT;
        IF written <> cardinality(column_values(p_balances[2])) THEN
            RAISE EXCEPTION 'an online row is not as it was opened' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    END IF;

    IF cardinality(p_holds) > 0 THEN
        UPDATE hold h
           SET captured = h.captured + c.amount, status = c.status, closed_at = CASE WHEN c.status = 'open' THEN NULL ELSE clock_timestamp() END
          FROM unnest(column_values(p_holds[1]), column_values(p_holds[2]), CAST(column_values(p_holds[3]) AS uuid[]),
                      CAST(column_values(p_holds[4]) AS bigint[]), column_values(p_holds[5]))
               AS c (tenant, account_id, hold_id, amount, status)
         WHERE h.tenant = c.tenant AND h.account_id = c.account_id AND h.hold_id = c.hold_id AND h.status = 'open';
        GET DIAGNOSTICS written = ROW_COUNT;
        IF written <> cardinality(column_values(p_holds[3])) THEN
            RAISE EXCEPTION 'a hold is not as it was opened' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    END IF;

    INSERT INTO event_outbox (event_id, topic, key, type, source, subject, time, payload, tenant, transaction_id, position)
    SELECT e.* FROM unnest(
        CAST(column_values(p_events[1]) AS uuid[]), column_values(p_events[2]), column_values(p_events[3]), column_values(p_events[4]),
        column_values(p_events[5]), column_values(p_events[6]), CAST(column_values(p_events[7]) AS timestamptz[]),
        column_values(p_events[8]), column_values(p_events[9]), CAST(column_values(p_events[10]) AS uuid[]),
        CAST(column_values(p_events[11]) AS smallint[])) AS e;
END $$;
