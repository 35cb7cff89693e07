-- Statements and balances in time. See decision record 0009.

-- Lines in the order of booking. What they cost each leg stands in the record; ties are rare, so transaction and leg are left out.
-- The amount is carried along, so that sums need no look at the table.
CREATE INDEX offline_entry_by_time ON offline_entry (tenant, account_id, posted_at) INCLUDE (amount);
CREATE INDEX online_entry_by_time ON online_entry (tenant, account_id, posted_at) INCLUDE (amount);

-- Derived from the entries, and rightly empty: without them everything is read from the entries, only slower. Filled by maintenance,
-- never while posting, from settled lines only.

-- Sums of all entries of an account before an instant. Checkpoints of an account form a chain: each names the one that it was added to,
-- and each has one successor at most, so two processes can't add the same entries twice.
CREATE TABLE balance_checkpoint (
    tenant     text           NOT NULL,
    account_id text           NOT NULL,
    since      timestamptz    NOT NULL, -- `until` of the checkpoint before; -infinity for the first
    until      timestamptz    NOT NULL, -- entries with posted_at < until are in the sums
    lines      bigint         NOT NULL CHECK (lines > 0),
    credited   numeric(38, 0) NOT NULL CHECK (credited >= 0),
    debited    numeric(38, 0) NOT NULL CHECK (debited >= 0),
    PRIMARY KEY (tenant, account_id, until),
    CONSTRAINT balance_checkpoint_one_successor UNIQUE (tenant, account_id, since),
    CONSTRAINT balance_checkpoint_goes_forward CHECK (until > since)
);

-- Sums of an account's entries by value date, over the entries before the account's last checkpoint.
CREATE TABLE value_date_balance (
    tenant     text           NOT NULL,
    account_id text           NOT NULL,
    value_date date           NOT NULL,
    credited   numeric(38, 0) NOT NULL CHECK (credited >= 0),
    debited    numeric(38, 0) NOT NULL CHECK (debited >= 0),
    PRIMARY KEY (tenant, account_id, value_date)
);

-- Every entry with posted_at before this instant is committed and visible to the next statement, and no commit will add another one.
-- A posting gets its xid before it takes its posted_at, which is not before its database transaction's start. So a posting that is under
-- way either has an xid now, and its start bounds this; or gets its xid after this looked, and its posted_at is later than `looked_from`.
-- What can't be seen counts as open since ever: the answer is then -infinity, and no line is settled. It is never too late.
-- SECURITY DEFINER: a session's start is hidden from other roles. Where the owner has neither pg_read_all_stats nor the application's
-- role, nothing is settled while the application writes.
CREATE FUNCTION settled_until() RETURNS timestamptz
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- A session may begin a transaction between the reading of its start and of its xid, and then shows an xid without a start. Looking
    -- again tells that from a start which is hidden, or which is not tracked.
    looks       CONSTANT integer     := 5;
    looked_from CONSTANT timestamptz := clock_timestamp();
    oldest      timestamptz;
    unknown     boolean;
BEGIN
    IF pg_is_in_recovery() THEN
        RETURN '-infinity'; -- a standby doesn't see the primary's sessions
    END IF;
    FOR look IN 1 .. looks LOOP
        PERFORM pg_stat_clear_snapshot(); -- the view would show what an earlier look in this database transaction saw
        SELECT min(a.xact_start), coalesce(bool_or(a.xact_start IS NULL), false)
          INTO oldest, unknown
          FROM pg_stat_activity a
         WHERE a.datid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
           AND a.backend_xid IS NOT NULL
           AND a.backend_type IS DISTINCT FROM 'autovacuum worker'; -- takes xids, and posts nothing
        EXIT WHEN NOT unknown;
    END LOOP;
    -- Read after the sessions: a session hands its xid over when it prepares. When it began is recorded nowhere.
    IF unknown OR EXISTS (SELECT FROM pg_prepared_xacts p WHERE p.database = current_database()) THEN
        RETURN '-infinity';
    END IF;
    RETURN least(looked_from, oldest);
END $$;
