-- Holds whose changes are told as events, and standing orders. See decision record 0016.

-- Whether the hold's events are stored from its authorisation on. Those from before this revision tell nothing, to the end.
ALTER TABLE hold ADD announced boolean NOT NULL DEFAULT false;

-- As before, with the new column last.
CREATE OR REPLACE VIEW hold_now AS
SELECT h.tenant, h.account_id, h.hold_id, h.amount, h.captured, h.currency, h.reference, h.authorised_by, h.reason, h.fingerprint, h.created_at,
       h.expires_at,
       CASE WHEN e.has_expired THEN 'expired' ELSE h.status END           AS status,
       CASE WHEN e.has_expired THEN h.expires_at ELSE h.closed_at END     AS closed_at,
       h.announced
  FROM hold h
 CROSS JOIN LATERAL (SELECT h.status = 'open' AND h.expires_at <= clock_timestamp() AS has_expired) AS e;

-- What a capture is decided on, and what its event tells of the hold.
DROP FUNCTION open_holds(text[], text[], uuid[]);
CREATE FUNCTION open_holds(p_tenants text[], p_account_ids text[], p_hold_ids uuid[])
RETURNS TABLE (tenant text, account_id text, hold_id uuid, amount bigint, captured bigint, status text, expired boolean, announced boolean,
               created_at timestamptz, expires_at timestamptz, reference text, authorised_by text)
LANGUAGE sql VOLATILE AS $$
    SELECT h.tenant, h.account_id, h.hold_id, h.amount, h.captured, h.status, h.expires_at <= clock_timestamp(), h.announced, h.created_at,
           h.expires_at, h.reference, h.authorised_by
      FROM unnest(p_tenants, p_account_ids, p_hold_ids) AS w (tenant, account_id, hold_id)
      JOIN hold h USING (tenant, account_id, hold_id)
$$;

-- As before, but for the last argument: the caller stores the hold's event in the same database transaction.
DROP FUNCTION authorise_hold(text, text, uuid, bigint, text, text, jsonb, text, text, timestamptz, timestamptz, text, date, numeric, numeric);
CREATE FUNCTION authorise_hold(
    p_tenant text, p_account_id text, p_hold_id uuid, p_amount bigint, p_currency text, p_status text, p_reason jsonb, p_reference text,
    p_fingerprint text, p_created_at timestamptz, p_expires_at timestamptz, p_authorised_by text,
    p_spending_day date, p_spent_on_day numeric, p_spent_in_month numeric, p_announced boolean
) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    INSERT INTO hold (tenant, account_id, hold_id, amount, status, created_at, expires_at, currency, fingerprint, reason, reference,
                      authorised_by, closed_at, announced)
    VALUES (p_tenant, p_account_id, p_hold_id, p_amount, p_status, p_created_at, p_expires_at, p_currency, p_fingerprint, p_reason,
            p_reference, p_authorised_by, CASE WHEN p_status = 'open' THEN NULL ELSE p_created_at END, p_announced);
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

-- ---- standing orders: this is the register; Temporal's Schedules are made from it ----
CREATE TABLE standing_order (
    tenant                 text        NOT NULL,
    order_id               uuid        NOT NULL,
    debtor                 text        NOT NULL,
    debtor_currency        text        NOT NULL,
    creditor               text        NOT NULL,
    creditor_currency      text        NOT NULL,
    amount                 bigint      NOT NULL CHECK (amount BETWEEN 1 AND 1000000000000000),
    currency               text        NOT NULL,
    reference              text,
    remittance_information text,
    schedule               jsonb       NOT NULL,
    on_refusal             jsonb       NOT NULL,
    fingerprint            text        NOT NULL,
    created_by             text        NOT NULL,
    created_at             timestamptz NOT NULL,
    status                 text        NOT NULL CHECK (status IN ('active', 'paused', 'completed', 'cancelled', 'stopped')),
    version                bigint      NOT NULL CHECK (version > 0),
    not_before             timestamptz, -- what was due before is not made up for
    next_due_at            timestamptz, -- NULL: nothing is due any more
    scheduled_version      bigint,      -- of which the Schedule was last made; NULL: it was not made yet
    PRIMARY KEY (tenant, order_id),
    CONSTRAINT standing_order_two_accounts CHECK (debtor <> creditor)
);
CREATE INDEX standing_order_by_age ON standing_order (tenant, created_at, order_id);
-- What the upkeep looks for: Schedules that are not as the register says, and due dates that passed without a run.
CREATE INDEX standing_order_unscheduled ON standing_order (tenant, order_id) WHERE scheduled_version IS DISTINCT FROM version;
CREATE INDEX standing_order_next ON standing_order (next_due_at) WHERE status = 'active';

-- Who changed what of an order, and when.
CREATE TABLE standing_order_change (
    tenant   text        NOT NULL,
    order_id uuid        NOT NULL,
    version  bigint      NOT NULL,
    action   text        NOT NULL CHECK (action IN ('create', 'pause', 'resume', 'cancel', 'complete', 'stop')),
    by       text        NOT NULL,
    at       timestamptz NOT NULL,
    reason   text,
    PRIMARY KEY (tenant, order_id, version),
    FOREIGN KEY (tenant, order_id) REFERENCES standing_order
);
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON standing_order_change EXECUTE FUNCTION refuse_change();

-- Each attempt at each due date, with its transaction.
CREATE TABLE standing_order_run (
    tenant         text        NOT NULL,
    order_id       uuid        NOT NULL,
    due_date       date        NOT NULL,
    attempt        integer     NOT NULL CHECK (attempt > 0),
    transaction_id uuid        NOT NULL,
    started_at     timestamptz NOT NULL,
    outcome        text        CHECK (outcome IN ('completed', 'rejected', 'reversed')),
    reason         jsonb,
    finished_at    timestamptz,
    PRIMARY KEY (tenant, order_id, due_date, attempt),
    FOREIGN KEY (tenant, order_id) REFERENCES standing_order,
    CONSTRAINT standing_order_run_finished_with_an_outcome CHECK ((outcome IS NULL) = (finished_at IS NULL))
);

-- ---- who may write what ----
DO $$
DECLARE
    made regprocedure := CAST('authorise_hold(text,text,uuid,bigint,text,text,jsonb,text,text,timestamptz,timestamptz,text,date,numeric,numeric,boolean)'
                              AS regprocedure);
BEGIN
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', made);
    EXECUTE format('ALTER FUNCTION %s SECURITY DEFINER SET search_path = %I, pg_temp', made, current_schema());
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO casaflow_app', made);
END $$;
GRANT INSERT, UPDATE (status, version, not_before, next_due_at, scheduled_version) ON standing_order TO casaflow_app;
GRANT INSERT ON standing_order_change TO casaflow_app;
GRANT INSERT, UPDATE (outcome, reason, finished_at) ON standing_order_run TO casaflow_app;
