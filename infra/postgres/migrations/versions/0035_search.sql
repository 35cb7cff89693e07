-- Searches: each goes along one of these indexes, and looks at a bounded number of its rows. See decision record 0034.

CREATE INDEX transaction_by_time ON transaction (tenant, submitted_at, transaction_id);
CREATE INDEX transaction_by_debtor ON transaction (tenant, debtor, submitted_at, transaction_id) WHERE debtor IS NOT NULL;
CREATE INDEX transaction_by_creditor ON transaction (tenant, creditor, submitted_at, transaction_id) WHERE creditor IS NOT NULL;
-- One of several creditors, or of several debtors of a reversal: few transactions have them.
CREATE INDEX transaction_by_share ON transaction USING gin ((request -> 'shares') jsonb_path_ops) WHERE request ? 'shares';
CREATE INDEX transaction_by_reference ON transaction (tenant, (request ->> 'reference'), submitted_at, transaction_id)
 WHERE request ? 'reference';
-- Nearly all are completed, so this stays small.
CREATE INDEX transaction_not_completed ON transaction (tenant, status, submitted_at, transaction_id) WHERE status <> 'completed';

-- By the bytes of the id, whatever the database's collation is, so that a prefix is a range.
CREATE INDEX account_in_order ON account (tenant, account_id COLLATE "C");
CREATE INDEX account_not_active ON account (tenant, status, account_id COLLATE "C") WHERE status <> 'active';

CREATE INDEX hold_by_time ON hold (tenant, created_at, hold_id);
CREATE INDEX hold_by_account ON hold (tenant, account_id, created_at, hold_id);
CREATE INDEX hold_open_by_time ON hold (tenant, created_at, hold_id) WHERE status = 'open';

-- As before, with the new column last: what the index of open holds knows them by.
CREATE OR REPLACE VIEW hold_now AS
SELECT h.tenant, h.account_id, h.hold_id, h.amount, h.captured, h.currency, h.reference, h.authorised_by, h.reason, h.fingerprint, h.created_at,
       h.expires_at,
       CASE WHEN e.has_expired THEN 'expired' ELSE h.status END           AS status,
       CASE WHEN e.has_expired THEN h.expires_at ELSE h.closed_at END     AS closed_at,
       h.announced,
       h.status                                                           AS stored_status
  FROM hold h
 CROSS JOIN LATERAL (SELECT h.status = 'open' AND h.expires_at <= clock_timestamp() AS has_expired) AS e;
