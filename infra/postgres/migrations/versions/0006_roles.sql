-- The owner, who migrates, owns everything. The application runs as casaflow_app: it reads, it posts by the functions below, and it writes
-- directly only what no money depends on. See decision record 0013; `casaflow check` looks for privileges that are not meant to be.

DO $$
BEGIN
    -- Roles are the cluster's: another database may have brought it, or bring it at this moment.
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'casaflow_app') THEN
        BEGIN
            CREATE ROLE casaflow_app NOLOGIN;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN NULL;
            WHEN insufficient_privilege THEN
                RAISE EXCEPTION 'the role casaflow_app is missing, and % may not create it', current_user
                    USING ERRCODE = 'insufficient_privilege',
                          HINT = format('as a superuser: CREATE ROLE casaflow_app NOLOGIN; GRANT casaflow_app TO %I;', current_user);
        END;
    END IF;
    -- Whoever logs in as the owner runs the application as casaflow_app. A superuser may; of others, who made the role may grant it.
    -- Two databases that do so at one moment get in each other's way; the second look finds it done.
    FOR attempt IN 1 .. 3 LOOP
        EXIT WHEN pg_has_role(current_user, 'casaflow_app', 'SET');
        BEGIN
            EXECUTE format('GRANT casaflow_app TO %I WITH SET TRUE', current_user);
        EXCEPTION
            WHEN unique_violation OR internal_error THEN NULL;
            WHEN insufficient_privilege THEN EXIT; -- the application's processes say what to grant
        END;
    END LOOP;
END $$;

-- The row that debits lock, with nothing on it; in the same statement as its account.
CREATE FUNCTION open_online_row(p_tenant text, p_account_id text) RETURNS void LANGUAGE sql VOLATILE AS $$
    INSERT INTO online_balance (tenant, account_id) VALUES (p_tenant, p_account_id)
$$;

-- ---- functions: each with the owner's rights and a search_path of its own, so that no table or operator of the caller's gets between ----
DO $$
DECLARE
    posts CONSTANT text[] := ARRAY['open_accounts', 'lock_originals', 'record_legs', 'authorise_hold', 'lock_hold', 'void_hold', 'expire_holds',
                                   'lock_account', 'change_account', 'open_online_row', 'fold_tail'];
    name  text;
    made  regprocedure;
BEGIN
    -- fold_account takes an amount, so nobody but these functions may call it.
    FOREACH name IN ARRAY posts || ARRAY['fold_account', 'settled_until', 'oldest_writer'] LOOP
        SELECT p.oid INTO STRICT made FROM pg_proc p
         WHERE p.proname = name AND p.pronamespace = CAST(current_schema() AS regnamespace);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', made);
        IF name = ANY (posts) THEN
            EXECUTE format('ALTER FUNCTION %s SECURITY DEFINER SET search_path = %I, pg_temp', made, current_schema());
        END IF;
        IF name <> 'fold_account' THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO casaflow_app', made);
        END IF;
    END LOOP;

    EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC', current_schema());
    EXECUTE format('GRANT USAGE ON SCHEMA %I, audit TO casaflow_app', current_schema());
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I, audit TO casaflow_app', current_schema());
    -- What later revisions bring can be read; what is to be written they grant themselves.
    EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I, audit GRANT SELECT ON TABLES TO casaflow_app', current_schema());
    EXECUTE format('REVOKE CREATE, TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
END $$;

-- ---- what the application writes directly: columns by name, so that nothing else of the row can be set ----
GRANT INSERT (tenant, account_id, currency, kind, overdraft_limit, minimum_balance, maximum_balance, transaction_limit, daily_limit,
              monthly_limit, time_zone) ON account TO casaflow_app;

-- An outcome without any leg. The policies hold for everybody but the owner: other rows come from record_legs.
GRANT INSERT (tenant, transaction_id, fingerprint, kind, debtor, creditor, request, status, reason, submitted_by, submitted_at, finished_at,
              reverses) ON transaction TO casaflow_app;
ALTER TABLE transaction ENABLE ROW LEVEL SECURITY;
CREATE POLICY transaction_is_read ON transaction FOR SELECT USING (true);
CREATE POLICY transaction_rejected ON transaction FOR INSERT WITH CHECK (status = 'rejected');

GRANT INSERT (event_id, topic, key, payload, type, source, subject, time, tenant, transaction_id, position), UPDATE (published_at)
   ON event_outbox TO casaflow_app;
GRANT INSERT (tenant, principal, idempotency_key, request_hash, transaction_id) ON idempotency_key TO casaflow_app;
GRANT INSERT (key_id, tenant, principal, scopes, secret_hash), UPDATE (revoked_at) ON api_key TO casaflow_app;
GRANT INSERT ON balance_checkpoint TO casaflow_app;
GRANT INSERT, UPDATE (credited, debited) ON value_date_balance TO casaflow_app;
GRANT UPDATE (begun_at, finished_at, report) ON maintenance_run TO casaflow_app;

GRANT INSERT, UPDATE ON audit.consumer_offset TO casaflow_app;
GRANT INSERT, UPDATE ON audit.chain TO casaflow_app;
GRANT INSERT ON audit.record TO casaflow_app;
