-- Holds, and changes of an account's rules. Python decides by the rules of `ledger` while the locks are held; these functions write what was
-- decided. See decision record 0011.

-- The rules that an account was opened with, once they have changed: a repeat of its opening is compared with them. NULL: they are as they were.
ALTER TABLE account ADD opened_with jsonb;

-- Who changed what of an account, and when. Written under the account's locks, so a leg with an earlier time was decided by what was before.
CREATE TABLE account_change (
    tenant     text        NOT NULL,
    account_id text        NOT NULL,
    changed_at timestamptz NOT NULL,
    changed_by text        NOT NULL,
    before     jsonb       NOT NULL,
    after      jsonb       NOT NULL,
    PRIMARY KEY (tenant, account_id, changed_at)
);
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON account_change EXECUTE FUNCTION refuse_change();

-- A hold is known by its id alone, as a transaction is.
CREATE UNIQUE INDEX hold_once ON hold (tenant, hold_id);
-- The sweep takes the oldest of all accounts first.
CREATE INDEX hold_open_by_end ON hold (expires_at) WHERE status = 'open';

-- A capture takes what was set aside, so it never lowers what is available, even where an override has brought that below zero.
ALTER TABLE online_entry
    DROP CONSTRAINT online_entry_never_overdrawn,
    ADD CONSTRAINT online_entry_never_overdrawn CHECK (available_after >= 0 OR override IS NOT NULL OR hold_id IS NOT NULL);

-- A hold as whoever asks sees it: past its end it has expired, whether the sweep came by or not.
CREATE VIEW hold_now AS
SELECT h.tenant, h.account_id, h.hold_id, h.amount, h.captured, h.currency, h.reference, h.authorised_by, h.reason, h.fingerprint, h.created_at,
       h.expires_at,
       CASE WHEN e.has_expired THEN 'expired' ELSE h.status END           AS status,
       CASE WHEN e.has_expired THEN h.expires_at ELSE h.closed_at END     AS closed_at
  FROM hold h
 CROSS JOIN LATERAL (SELECT h.status = 'open' AND h.expires_at <= clock_timestamp() AS has_expired) AS e;

-- Store a hold as it was decided; the caller has opened its account. An open one takes its part of the balance and of the limits.
-- An id that was used before, on this account or on another, violates a key.
CREATE FUNCTION authorise_hold(
    p_tenant text, p_account_id text, p_hold_id uuid, p_amount bigint, p_currency text, p_status text, p_reason jsonb, p_reference text,
    p_fingerprint text, p_created_at timestamptz, p_expires_at timestamptz, p_authorised_by text,
    p_spending_day date, p_spent_on_day numeric, p_spent_in_month numeric
) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    INSERT INTO hold (tenant, account_id, hold_id, amount, status, created_at, expires_at, currency, fingerprint, reason, reference,
                      authorised_by, closed_at)
    VALUES (p_tenant, p_account_id, p_hold_id, p_amount, p_status, p_created_at, p_expires_at, p_currency, p_fingerprint, p_reason,
            p_reference, p_authorised_by, CASE WHEN p_status = 'open' THEN NULL ELSE p_created_at END);
    IF p_status = 'open' THEN
        UPDATE online_balance
           SET held = held + p_amount, spending_day = p_spending_day, spent_on_day = p_spent_on_day, spent_in_month = p_spent_in_month
         WHERE tenant = p_tenant AND account_id = p_account_id;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'account % of tenant % has no online row to hold on', p_account_id, p_tenant
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    END IF;
END $$;

-- A hold, with its account's online row locked until the end of the database transaction; no row: there is no such hold. Two statements:
-- the second sees what the lock's holder before has committed.
CREATE FUNCTION lock_hold(p_tenant text, p_hold_id uuid) RETURNS SETOF hold_now LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM 1 FROM hold h JOIN online_balance o USING (tenant, account_id)
      WHERE h.tenant = p_tenant AND h.hold_id = p_hold_id FOR NO KEY UPDATE OF o;
    RETURN QUERY SELECT * FROM hold_now h WHERE h.tenant = p_tenant AND h.hold_id = p_hold_id;
END $$;

-- Void an open hold, and give back what it still held. The caller has locked it.
CREATE FUNCTION void_hold(p_tenant text, p_hold_id uuid) RETURNS timestamptz LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    voided record;
BEGIN
    UPDATE hold SET status = 'voided', closed_at = clock_timestamp()
     WHERE tenant = p_tenant AND hold_id = p_hold_id AND status = 'open'
    RETURNING account_id, amount - captured AS released, closed_at INTO voided;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'hold % of tenant % is not open', p_hold_id, p_tenant USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    UPDATE online_balance SET held = held - voided.released WHERE tenant = p_tenant AND account_id = voided.account_id;
    RETURN voided.closed_at;
END $$;

-- Expire holds past their end: those due, at most p_limit, the oldest first, of one account or (NULL) of all. Locks, then changes in a new
-- statement: of two sweeps that found the same holds the second one finds nothing left to change.
CREATE FUNCTION expire_holds(p_limit integer, p_tenant text, p_account_id text, OUT due integer, OUT expired integer)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    moment  CONSTANT timestamptz := clock_timestamp(); -- a variable, so that the index can be asked for it
    tenants text[];
    holds   uuid[];
BEGIN
    SELECT array_agg(h.tenant), array_agg(h.hold_id) INTO tenants, holds
      FROM (SELECT o.tenant, o.hold_id FROM hold o
             WHERE o.status = 'open' AND o.expires_at <= moment
               AND (p_account_id IS NULL OR (o.tenant = p_tenant AND o.account_id = p_account_id))
             ORDER BY o.expires_at LIMIT p_limit) AS h;
    due := coalesce(cardinality(holds), 0);
    expired := 0;
    IF due = 0 THEN
        RETURN;
    END IF;
    PERFORM 1 FROM online_balance o
      WHERE (o.tenant, o.account_id) IN
            (SELECT h.tenant, h.account_id FROM unnest(tenants, holds) AS d (tenant, hold_id) JOIN hold h USING (tenant, hold_id))
      ORDER BY o.tenant, o.account_id FOR NO KEY UPDATE OF o;
    WITH swept AS (
        UPDATE hold h SET status = 'expired', closed_at = h.expires_at
          FROM unnest(tenants, holds) AS d (tenant, hold_id)
         WHERE h.tenant = d.tenant AND h.hold_id = d.hold_id AND h.status = 'open'
        RETURNING h.tenant, h.account_id, h.amount - h.captured AS released),
    released AS (
        UPDATE online_balance o SET held = o.held - s.released
          FROM (SELECT tenant, account_id, sum(released) AS released FROM swept GROUP BY 1, 2) AS s
         WHERE o.tenant = s.tenant AND o.account_id = s.account_id)
    SELECT count(*) INTO expired FROM swept;
END $$;

-- Lock an account for a change: the online row, for which debits wait, then the rules lock alone, for which credits wait.
CREATE FUNCTION lock_account(p_tenant text, p_account_id text) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM 1 FROM online_balance WHERE tenant = p_tenant AND account_id = p_account_id FOR NO KEY UPDATE;
    PERFORM pg_advisory_xact_lock(rules_lock_key(p_tenant, p_account_id));
END $$;

-- Store an account's rules and status as they were decided. The caller has locked it with lock_account; the locks are taken once more, which
-- costs nothing then, so that no other way in can go without.
CREATE FUNCTION change_account(
    p_tenant text, p_account_id text, p_status text, p_status_before_freeze text, p_overdraft_limit bigint, p_minimum_balance bigint,
    p_maximum_balance bigint, p_transaction_limit bigint, p_daily_limit bigint, p_monthly_limit bigint, p_time_zone text, p_changed_by text
) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    earlier account;
    later   account;
BEGIN
    PERFORM lock_account(p_tenant, p_account_id);
    SELECT * INTO STRICT earlier FROM account WHERE tenant = p_tenant AND account_id = p_account_id;
    IF earlier.status = 'closed' THEN
        RAISE EXCEPTION 'account % of tenant % is closed', p_account_id, p_tenant USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    UPDATE account
       SET status = p_status, status_before_freeze = p_status_before_freeze, overdraft_limit = p_overdraft_limit,
           minimum_balance = p_minimum_balance, maximum_balance = p_maximum_balance, transaction_limit = p_transaction_limit,
           daily_limit = p_daily_limit, monthly_limit = p_monthly_limit, time_zone = p_time_zone,
           opened_with = coalesce(earlier.opened_with, jsonb_build_object(
               'overdraft_limit', earlier.overdraft_limit, 'minimum_balance', earlier.minimum_balance,
               'maximum_balance', earlier.maximum_balance, 'transaction_limit', earlier.transaction_limit,
               'daily_limit', earlier.daily_limit, 'monthly_limit', earlier.monthly_limit, 'time_zone', earlier.time_zone))
     WHERE tenant = p_tenant AND account_id = p_account_id
    RETURNING * INTO later;
    IF earlier.time_zone <> p_time_zone THEN
        -- What counted today counts today in the new time zone, too: a change of it gives no second day.
        UPDATE online_balance o
           SET spending_day = CAST(n.now AT TIME ZONE p_time_zone AS date),
               spent_on_day = CASE WHEN o.spending_day = n.day THEN o.spent_on_day ELSE 0 END,
               spent_in_month = CASE WHEN date_trunc('month', o.spending_day) = date_trunc('month', n.day) THEN o.spent_in_month ELSE 0 END
          FROM (SELECT t.now, CAST(t.now AT TIME ZONE earlier.time_zone AS date) AS day FROM (SELECT clock_timestamp() AS now) AS t) AS n
         WHERE o.tenant = p_tenant AND o.account_id = p_account_id;
    END IF;
    INSERT INTO account_change (tenant, account_id, changed_at, changed_by, before, after)
    VALUES (p_tenant, p_account_id, clock_timestamp(), p_changed_by, to_jsonb(earlier) - 'opened_with', to_jsonb(later) - 'opened_with');
END $$;

-- Whether the database knows a time zone by exactly this name: an unknown one would stop every leg of its account.
CREATE FUNCTION time_zone_is_known(p_time_zone text) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT 1 FROM pg_timezone_names z WHERE z.name = p_time_zone)
$$;
