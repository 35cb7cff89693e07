-- Who may, and who did. See decision record 0035.

-- ---- keys ----
ALTER TABLE api_key
    ADD expires_at   timestamptz, -- NULL: never
    ADD last_used_at timestamptz, -- to the minute; written in the background
    ADD created_by   text,        -- NULL: before this revision, or by `casaflow up`
    ADD rotated_from text REFERENCES api_key;
-- A tenant's keys, the newest first.
CREATE INDEX api_key_of_tenant ON api_key (tenant, created_at DESC, key_id DESC);
GRANT INSERT (expires_at, created_by, rotated_from), UPDATE (expires_at, last_used_at) ON api_key TO casaflow_app;

-- ---- acts that have no table of their own: of keys, of accounts that are opened, of servers ----
CREATE TABLE administrative_act (
    act_id    uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    -- Neither is the application's to say: an act can't be dated back.
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    tenant    text,       -- NULL: of the servers, which all tenants share
    by        text        NOT NULL,
    key_id    text,       -- or token:<jti>; NULL: at a server's command line
    address   text,
    action    text        NOT NULL,
    subject   text        NOT NULL, -- what it was done to
    detail    jsonb       NOT NULL DEFAULT '{}'
);
CREATE INDEX administrative_act_of_tenant ON administrative_act (tenant, at DESC, act_id DESC);
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON administrative_act EXECUTE FUNCTION refuse_change();
GRANT INSERT (tenant, by, key_id, address, action, subject, detail) ON administrative_act TO casaflow_app;

-- Changes of accounts had a table: what they lacked is by which key, and from where. Both are the database transaction's settings.
ALTER TABLE account_change
    ADD key_id  text DEFAULT nullif(current_setting('casaflow.key_id', true), ''),
    ADD address text DEFAULT nullif(current_setting('casaflow.address', true), '');
CREATE INDEX account_change_of_tenant ON account_change (tenant, changed_at DESC);
CREATE INDEX operator_action_of_tenant ON operator_action (tenant, at DESC);
CREATE INDEX standing_order_change_of_tenant ON standing_order_change (tenant, at DESC);

-- ---- all acts: those above, and those that were recorded already, each where it belongs ----
-- An act's id is its table's name and its key there, so that pages have an order without ties.
CREATE VIEW administrative_log AS
SELECT a.tenant, a.at, 'act/' || a.act_id AS act_id, a.by, a.key_id, a.address, a.action, a.subject, a.detail
  FROM administrative_act a
 UNION ALL
SELECT c.tenant, c.changed_at, 'account/' || c.account_id || '/' || extract(epoch FROM c.changed_at), c.changed_by, c.key_id, c.address,
       'account.changed', 'account ' || c.account_id, jsonb_build_object('before', c.before, 'after', c.after)
  FROM account_change c
 UNION ALL
SELECT o.tenant, o.at, 'transaction/' || o.transaction_id || '/' || o.position, o.by, NULL, NULL,
       'transaction.' || o.action, 'transaction ' || o.transaction_id, o.detail || jsonb_build_object('reason', o.reason)
  FROM operator_action o
 UNION ALL
SELECT s.tenant, s.at, 'standing-order/' || s.order_id || '/' || s.version, s.by, NULL, NULL,
       'standing-order.' || s.action, 'standing order ' || s.order_id, jsonb_build_object('version', s.version, 'reason', s.reason)
  FROM standing_order_change s
 UNION ALL
SELECT p.tenant, p.at, 'preferences/' || p.customer_id || '/' || p.version, p.by, NULL, NULL,
       'preferences.' || p.action, 'customer ' || p.customer_id, jsonb_build_object('version', p.version)
  FROM notification.preference_change p
 UNION ALL
SELECT m.tenant, r.at, 'message/' || r.message_id || '/' || r.number, r.by, NULL, NULL,
       'message.replayed', 'message ' || r.message_id, jsonb_build_object('reason', r.reason, 'attempts', r.attempts)
  FROM notification.replay r JOIN notification.message m USING (message_id);
