-- Rules of accounts, holds, reversals, linked legs, and a fold that a long transaction elsewhere doesn't hold back.

-- NULL: no such limit. Amounts in minor units of the account's currency.
ALTER TABLE account
    ADD minimum_balance      bigint NOT NULL DEFAULT 0 CHECK (minimum_balance BETWEEN 0 AND 1000000000000000),
    ADD maximum_balance      bigint CHECK (maximum_balance BETWEEN 1 AND 1000000000000000),
    ADD transaction_limit    bigint CHECK (transaction_limit BETWEEN 0 AND 1000000000000000),
    ADD daily_limit          bigint CHECK (daily_limit BETWEEN 0 AND 1000000000000000),
    ADD monthly_limit        bigint CHECK (monthly_limit BETWEEN 0 AND 1000000000000000),
    ADD time_zone            text   NOT NULL DEFAULT 'UTC', -- an IANA name; days and months of the limits begin at its midnight
    ADD status_before_freeze text   CHECK (status_before_freeze IN ('active', 'dormant'));

-- What a fold has taken: every credit that was visible to it. folded_until is its snapshot's xmax; folded_except are the transactions
-- below that which were still in progress, the fold's own included. Their credits, once committed, are part of the tail.
ALTER TABLE online_balance
    ADD folded_except  xid8[]         NOT NULL DEFAULT '{}',
    ADD held           numeric(38, 0) NOT NULL DEFAULT 0 CHECK (held >= 0), -- sum of what open holds still hold, expired ones included
    ADD spending_day   date, -- in the account's time zone; spent_on_day counts for it, spent_in_month for its month
    ADD spent_on_day   numeric(38, 0) NOT NULL DEFAULT 0,
    ADD spent_in_month numeric(38, 0) NOT NULL DEFAULT 0;
UPDATE online_balance o SET held = h.held
  FROM (SELECT tenant, account_id, sum(amount - captured) AS held FROM hold WHERE status = 'open' GROUP BY 1, 2) AS h
 WHERE o.tenant = h.tenant AND o.account_id = h.account_id;

ALTER TABLE transaction
    ADD reverses uuid,
    -- From the bank to several creditors, or back: the request names them, these columns name nobody.
    DROP CONSTRAINT transaction_names_an_account,
    ADD CONSTRAINT transaction_names_an_account CHECK (debtor IS NOT NULL OR creditor IS NOT NULL OR request ? 'shares');
CREATE INDEX transaction_reversals ON transaction (tenant, reverses) WHERE reverses IS NOT NULL;

ALTER TABLE decision
    DROP CONSTRAINT decision_leg_check,
    ADD CONSTRAINT decision_leg_check CHECK (leg IN ('debit', 'fee', 'credit', 'compensation')),
    ADD hold_id  uuid,
    ADD override jsonb;
ALTER TABLE online_entry
    DROP CONSTRAINT online_entry_leg_check,
    ADD CONSTRAINT online_entry_leg_check CHECK (leg IN ('debit', 'fee')),
    ADD hold_id uuid;

ALTER TABLE hold
    ADD currency      text CHECK (currency ~ '^[A-Z]{3}$'),
    ADD fingerprint   text,
    ADD reason        jsonb,
    ADD reference     text,
    ADD authorised_by text,
    ADD closed_at     timestamptz,
    DROP CONSTRAINT hold_status_check,
    ADD CONSTRAINT hold_status_check CHECK (status IN ('open', 'captured', 'voided', 'expired', 'refused')),
    ADD CONSTRAINT hold_refused_for_a_reason CHECK ((status = 'refused') = (reason IS NOT NULL));
-- Nothing could authorise a hold before this revision; rows that somebody put there by hand say so.
UPDATE hold h SET currency = a.currency, fingerprint = 'before revision 0004', authorised_by = 'before revision 0004'
  FROM account a WHERE a.tenant = h.tenant AND a.account_id = h.account_id;
ALTER TABLE hold ALTER currency SET NOT NULL, ALTER fingerprint SET NOT NULL, ALTER authorised_by SET NOT NULL;
DROP INDEX hold_open;
-- Few at any time are past their end and still open: a debit, the view and the sweep find them at the low end of it.
CREATE INDEX hold_open_by_expiry ON hold (tenant, account_id, expires_at) INCLUDE (amount, captured) WHERE status = 'open';

-- The cluster that this ledger's xids belong to. A dump brings the old one's identifier along, and then nothing is posted.
CREATE TABLE ledger_cluster (
    only_row          boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    system_identifier bigint  NOT NULL
);
INSERT INTO ledger_cluster (system_identifier) SELECT system_identifier FROM pg_control_system();

-- The tail: credits of an account that its online row has not folded.
CREATE FUNCTION credit_tail(p_tenant text, p_account_id text, p_folded_until xid8, p_folded_except xid8[])
RETURNS TABLE (credits bigint, amount numeric) LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT count(*), coalesce(sum(e.amount), 0)
      FROM (SELECT amount FROM offline_entry
             WHERE tenant = p_tenant AND account_id = p_account_id AND xid >= p_folded_until
             UNION ALL
            SELECT amount FROM offline_entry
             WHERE tenant = p_tenant AND account_id = p_account_id AND xid = ANY (p_folded_except) AND xid < p_folded_until) AS e
$$;

CREATE OR REPLACE VIEW account_balance AS
SELECT a.tenant,
       a.account_id,
       a.currency,
       o.folded + tail.amount                                                              AS offline,
       o.debited                                                                           AS online,
       o.folded + tail.amount - o.debited                                                  AS ledger,
       o.held - expired.amount                                                             AS held,
       o.folded + tail.amount - o.debited - (o.held - expired.amount) + a.overdraft_limit  AS available
  FROM account a
  JOIN online_balance o USING (tenant, account_id)
 CROSS JOIN LATERAL credit_tail(o.tenant, o.account_id, o.folded_until, o.folded_except) AS tail
 CROSS JOIN LATERAL (
       SELECT coalesce(sum(h.amount - h.captured), 0) AS amount
         FROM hold h
        WHERE h.tenant = o.tenant AND h.account_id = o.account_id AND h.status = 'open' AND h.expires_at <= clock_timestamp()) AS expired;
