\set account random_zipfian(1, 1000, 1.1)
BEGIN;
SELECT balance FROM lock_balance WHERE account_id = :account FOR UPDATE;
UPDATE lock_balance SET balance = balance - 1 WHERE account_id = :account;
INSERT INTO lock_entry (account_id, amount) VALUES (:account, -1);
COMMIT;
