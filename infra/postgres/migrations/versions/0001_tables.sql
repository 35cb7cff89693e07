-- The CASA tables. Amounts are whole minor units of the row's currency; running sums are numeric(38,0).
-- Every key starts with the tenant, and on the account's side contains the account, so that accounts can be spread over nodes.

CREATE TABLE account (
    tenant          text        NOT NULL CHECK (length(tenant) BETWEEN 1 AND 64),
    account_id      text        NOT NULL CHECK (length(account_id) BETWEEN 1 AND 34),
    currency        text        NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    kind            text        NOT NULL CHECK (kind IN ('current', 'savings', 'internal')),
    status          text        NOT NULL DEFAULT 'active'
                    CHECK (status IN ('active', 'debit-frozen', 'credit-frozen', 'frozen', 'dormant', 'closed')),
    overdraft_limit bigint      NOT NULL DEFAULT 0 CHECK (overdraft_limit BETWEEN 0 AND 1000000000000000),
    opened_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, account_id)
);

-- What was asked and how it ended. It outlives the workflow's retention and answers look-ups and repeats.
CREATE TABLE transaction (
    tenant          text        NOT NULL,
    transaction_id  uuid        NOT NULL,
    fingerprint     text        NOT NULL,
    kind            text        NOT NULL CHECK (kind IN ('deposit', 'withdrawal', 'transfer')),
    debtor          text,
    creditor        text,
    request         jsonb       NOT NULL,
    status          text        NOT NULL CHECK (status IN ('processing', 'completed', 'rejected', 'reversed', 'parked')),
    reason          jsonb,
    rate            jsonb,
    submitted_by    text        NOT NULL,
    submitted_at    timestamptz NOT NULL,
    recorded_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at     timestamptz,
    reversed_amount bigint      NOT NULL DEFAULT 0 CHECK (reversed_amount >= 0),
    PRIMARY KEY (tenant, transaction_id),
    CONSTRAINT transaction_names_an_account CHECK (debtor IS NOT NULL OR creditor IS NOT NULL),
    CONSTRAINT transaction_finished_when_final CHECK ((finished_at IS NOT NULL) = (status IN ('completed', 'rejected', 'reversed')))
);
-- An account with open transactions can't be closed; they are few, so the index stays small. See decision record 0003.
CREATE INDEX transaction_open_by_debtor ON transaction (tenant, debtor) WHERE status IN ('processing', 'parked');

-- What was decided for a leg. The same id with the same content gets this answer again, a refusal included.
CREATE TABLE decision (
    tenant          text        NOT NULL,
    account_id      text        NOT NULL,
    transaction_id  uuid        NOT NULL,
    leg             text        NOT NULL CHECK (leg IN ('debit', 'credit', 'compensation')),
    outcome         text        NOT NULL CHECK (outcome IN ('posted', 'refused')),
    reason          jsonb,
    amount          bigint      NOT NULL CHECK (amount BETWEEN 1 AND 1000000000000000),
    currency        text        NOT NULL,
    conversion      jsonb,
    value_date      date        NOT NULL,
    decided_at      timestamptz NOT NULL,
    version         bigint,
    ledger_after    numeric(38, 0),
    available_after numeric(38, 0),
    reversed        bigint      NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, account_id, transaction_id, leg),
    CONSTRAINT decision_reversed_at_most_the_amount CHECK (reversed BETWEEN 0 AND amount),
    CONSTRAINT decision_refused_for_a_reason CHECK ((outcome = 'refused') = (reason IS NOT NULL))
);

-- Credits: insert-only, no lock, no foreign key. xid tells a debit's fold which credits can no longer change.
CREATE TABLE offline_entry (
    tenant          text        NOT NULL,
    account_id      text        NOT NULL,
    currency        text        NOT NULL,
    amount          bigint      NOT NULL CHECK (amount BETWEEN 1 AND 1000000000000000),
    transaction_id  uuid        NOT NULL,
    leg             text        NOT NULL CHECK (leg IN ('credit', 'compensation')),
    posted_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    value_date      date        NOT NULL,
    xid             xid8        NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (tenant, account_id, transaction_id, leg)
);
CREATE INDEX offline_entry_by_xid ON offline_entry (tenant, account_id, xid) INCLUDE (amount);

-- The one row per account that debits lock.
CREATE TABLE online_balance (
    tenant       text           NOT NULL,
    account_id   text           NOT NULL,
    debited      numeric(38, 0) NOT NULL DEFAULT 0 CHECK (debited >= 0),
    folded       numeric(38, 0) NOT NULL DEFAULT 0 CHECK (folded >= 0),
    folded_until xid8           NOT NULL DEFAULT '0',
    version      bigint         NOT NULL DEFAULT 0 CHECK (version >= 0),
    PRIMARY KEY (tenant, account_id)
) WITH (fillfactor = 50); -- room for heap-only updates: this row changes with every debit

-- The debit journal: a gapless version per account, and the balances after each debit.
CREATE TABLE online_entry (
    tenant          text           NOT NULL,
    account_id      text           NOT NULL,
    version         bigint         NOT NULL CHECK (version > 0),
    currency        text           NOT NULL,
    amount          bigint         NOT NULL CHECK (amount BETWEEN 1 AND 1000000000000000),
    balance_after   numeric(38, 0) NOT NULL,
    available_after numeric(38, 0) NOT NULL,
    override        jsonb,
    transaction_id  uuid           NOT NULL,
    leg             text           NOT NULL CHECK (leg IN ('debit')),
    posted_at       timestamptz    NOT NULL,
    value_date      date           NOT NULL,
    PRIMARY KEY (tenant, account_id, version),
    CONSTRAINT online_entry_once UNIQUE (tenant, account_id, transaction_id, leg),
    CONSTRAINT online_entry_never_overdrawn CHECK (available_after >= 0 OR override IS NOT NULL)
);

CREATE TABLE hold (
    tenant      text        NOT NULL,
    account_id  text        NOT NULL,
    hold_id     uuid        NOT NULL,
    amount      bigint      NOT NULL CHECK (amount BETWEEN 1 AND 1000000000000000),
    captured    bigint      NOT NULL DEFAULT 0,
    status      text        NOT NULL CHECK (status IN ('open', 'captured', 'voided', 'expired')),
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant, account_id, hold_id),
    CONSTRAINT hold_captured_at_most_the_amount CHECK (captured BETWEEN 0 AND amount)
);
CREATE INDEX hold_open ON hold (tenant, account_id) WHERE status = 'open';

-- The internal side of every leg; a credit is positive, a debit negative.
CREATE TABLE gl_entry (
    tenant              text        NOT NULL,
    account_id          text        NOT NULL CHECK (account_id IN ('cash', 'clearing', 'transit', 'fx-position', 'fees')),
    currency            text        NOT NULL,
    amount              bigint      NOT NULL CHECK (amount <> 0),
    transaction_id      uuid        NOT NULL,
    leg                 text        NOT NULL,
    customer_account_id text        NOT NULL,
    posted_at           timestamptz NOT NULL,
    PRIMARY KEY (tenant, customer_account_id, transaction_id, leg, account_id, currency)
);

-- Events, stored with the leg that they tell of. Partitioned by time so that published ones can be dropped whole.
CREATE TABLE event_outbox (
    event_id       uuid        NOT NULL,
    topic          text        NOT NULL,
    key            text        NOT NULL,
    payload        text        NOT NULL, -- text, not jsonb: the bytes that are published must not change
    type           text        NOT NULL,
    source         text        NOT NULL,
    subject        text        NOT NULL,
    time           timestamptz NOT NULL,
    tenant         text        NOT NULL,
    transaction_id uuid        NOT NULL,
    position       smallint    NOT NULL, -- order of the events of one leg
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    published_at   timestamptz,
    PRIMARY KEY (event_id, created_at)
) PARTITION BY RANGE (created_at);
CREATE TABLE event_outbox_default PARTITION OF event_outbox DEFAULT;
CREATE INDEX event_outbox_unpublished ON event_outbox (tenant, transaction_id) WHERE published_at IS NULL;

CREATE TABLE api_key (
    key_id      text        PRIMARY KEY,
    tenant      text        NOT NULL,
    principal   text        NOT NULL,
    scopes      text[]      NOT NULL,
    secret_hash bytea       NOT NULL, -- SHA-256; the secret itself has 256 random bits
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at  timestamptz
);

CREATE TABLE idempotency_key (
    tenant          text        NOT NULL,
    principal       text        NOT NULL,
    idempotency_key text        NOT NULL,
    request_hash    text        NOT NULL,
    transaction_id  uuid        NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, principal, idempotency_key)
);

-- Entries are never changed or taken away. Statement-level, so that an insert pays nothing.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is not allowed: entries are insert-only', TG_OP, TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON offline_entry EXECUTE FUNCTION refuse_change();
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON online_entry EXECUTE FUNCTION refuse_change();
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON gl_entry EXECUTE FUNCTION refuse_change();

CREATE FUNCTION refuse_unfolding() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'folded_until of account % may not decrease', OLD.account_id USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER never_unfold BEFORE UPDATE ON online_balance FOR EACH ROW
    WHEN (NEW.folded_until < OLD.folded_until) EXECUTE FUNCTION refuse_unfolding();

-- The balance: one snapshot over both sides. folded holds every credit with xid < folded_until; the tail is summed here.
CREATE VIEW account_balance AS
SELECT a.tenant,
       a.account_id,
       a.currency,
       o.folded + tail.amount                                              AS offline,
       o.debited                                                           AS online,
       o.folded + tail.amount - o.debited                                  AS ledger,
       held.amount                                                         AS held,
       o.folded + tail.amount - o.debited - held.amount + a.overdraft_limit AS available
  FROM account a
  JOIN online_balance o USING (tenant, account_id)
 CROSS JOIN LATERAL (
       SELECT coalesce(sum(e.amount), 0) AS amount
         FROM offline_entry e
        WHERE e.tenant = o.tenant AND e.account_id = o.account_id AND e.xid >= o.folded_until) AS tail
 CROSS JOIN LATERAL (
       SELECT coalesce(sum(h.amount - h.captured), 0) AS amount
         FROM hold h
        WHERE h.tenant = o.tenant AND h.account_id = o.account_id AND h.status = 'open' AND h.expires_at > clock_timestamp()) AS held;
