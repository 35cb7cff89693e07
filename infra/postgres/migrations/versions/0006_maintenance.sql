-- Upkeep in small steps beside the postings. See decision record 0013.

-- When a run was begun, by whichever process, and what the last one found. One row.
CREATE TABLE maintenance_run (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    begun_at    timestamptz NOT NULL DEFAULT '-infinity',
    finished_at timestamptz,
    report      jsonb
);
INSERT INTO maintenance_run DEFAULT VALUES;

-- Fold the oldest credits of an account's tail: at most p_at_most of them and what shares an xid with the last, and none when there are
-- fewer than p_at_least. No row: somebody is debiting the account (and folds), or there is no such account.
-- As when a debit folds, lock and read are two statements. What a credit's xid below the boundary may still bring, since it was in
-- progress, is remembered in folded_except, exactly as fold_account does with all of a snapshot.
CREATE FUNCTION fold_tail(p_tenant text, p_account_id text, p_at_least bigint, p_at_most bigint)
RETURNS TABLE (credits bigint, more boolean) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    online online_balance;
    found_ record;
BEGIN
    IF ledger_is_restored() THEN
        RAISE EXCEPTION 'this ledger was restored into another cluster; run `casaflow refold` first' USING ERRCODE = 'CF002';
    END IF;
    SELECT * INTO online FROM online_balance o WHERE o.tenant = p_tenant AND o.account_id = p_account_id FOR NO KEY UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;

    SELECT s.snapshot, b.boundary, t.credits, t.amount INTO found_
      FROM (SELECT pg_current_snapshot() AS snapshot) AS s
     CROSS JOIN LATERAL (
           SELECT coalesce(
               -- After the xid of the last one that goes along. xid8 knows no arithmetic.
               (SELECT CAST(CAST(CAST(CAST(e.xid AS text) AS bigint) + 1 AS text) AS xid8) FROM offline_entry e
                 WHERE e.tenant = p_tenant AND e.account_id = p_account_id AND e.xid >= online.folded_until
                 ORDER BY e.xid OFFSET greatest(p_at_most, 1) - 1 LIMIT 1),
               pg_snapshot_xmax(s.snapshot)) AS boundary) AS b
     CROSS JOIN LATERAL (
           SELECT count(*) AS credits, coalesce(sum(e.amount), 0) AS amount
             FROM (SELECT c.amount FROM offline_entry c
                    WHERE c.tenant = p_tenant AND c.account_id = p_account_id AND c.xid >= online.folded_until AND c.xid < b.boundary
                    UNION ALL
                   SELECT c.amount FROM offline_entry c
                    WHERE c.tenant = p_tenant AND c.account_id = p_account_id AND c.xid = ANY (online.folded_except)
                      AND c.xid < online.folded_until) AS e) AS t;
    IF found_.credits < p_at_least THEN
        RETURN QUERY SELECT CAST(0 AS bigint), false;
        RETURN;
    END IF;
    UPDATE online_balance o
       SET folded = o.folded + found_.amount, folded_until = found_.boundary,
           folded_except = ARRAY(SELECT x FROM (SELECT pg_snapshot_xip(found_.snapshot) UNION SELECT pg_current_xact_id()) AS p (x)
                                  WHERE x < found_.boundary)
     WHERE o.tenant = p_tenant AND o.account_id = p_account_id;
    RETURN QUERY SELECT found_.credits, found_.boundary < pg_snapshot_xmax(found_.snapshot);
END $$;

-- The oldest database transaction that writes, anywhere in the cluster: how long it has been open, and how many xids were given out since.
-- It holds back vacuum, and what statements call settled. SECURITY DEFINER: a session's start is hidden from other roles.
CREATE FUNCTION oldest_writer() RETURNS TABLE (seconds double precision, xids bigint)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(greatest(extract(epoch FROM clock_timestamp() - min(w.since)), 0), 0),
           (SELECT CAST(CAST(pg_snapshot_xmax(s) AS text) AS bigint) - CAST(CAST(pg_snapshot_xmin(s) AS text) AS bigint)
              FROM pg_current_snapshot() AS s)
      FROM (SELECT a.xact_start AS since FROM pg_stat_activity a WHERE a.backend_xid IS NOT NULL
             UNION ALL
            SELECT p.prepared FROM pg_prepared_xacts p) AS w
$$;
