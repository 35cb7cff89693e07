-- What customers want to be told, and the messages to them. See decision record 0029.

CREATE TABLE notification.preference (
    tenant          text        NOT NULL,
    customer_id     text        NOT NULL,
    accounts        text[]      NOT NULL CHECK (cardinality(accounts) > 0),
    email           text,
    webhook_url     text,
    webhook_secrets jsonb       NOT NULL, -- the present one first; never read back by the API
    wishes          jsonb       NOT NULL, -- kinds, minimum amounts, language, quiet hours
    enabled         boolean     NOT NULL,
    webhook_gone    boolean     NOT NULL, -- the endpoint has answered 410 Gone
    since           timestamptz NOT NULL, -- what finished before is not told
    version         bigint      NOT NULL CHECK (version > 0),
    PRIMARY KEY (tenant, customer_id),
    CONSTRAINT preference_has_a_channel CHECK (num_nonnulls(email, webhook_url) > 0)
);
-- Whom an event concerns: looked up once for each batch of events.
CREATE INDEX preference_by_account ON notification.preference USING gin (accounts) WHERE enabled;

CREATE TABLE notification.preference_change (
    tenant      text        NOT NULL,
    customer_id text        NOT NULL,
    version     bigint      NOT NULL,
    action      text        NOT NULL CHECK (action IN ('set', 'disable', 'gone')),
    by          text        NOT NULL,
    at          timestamptz NOT NULL,
    PRIMARY KEY (tenant, customer_id, version)
);
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON notification.preference_change EXECUTE FUNCTION refuse_change();

CREATE TABLE notification.message (
    message_id     uuid        PRIMARY KEY, -- derived from event, customer and channel: an event that is read again makes none
    tenant         text        NOT NULL,
    event_id       uuid        NOT NULL,
    transaction_id uuid        NOT NULL,
    customer_id    text        NOT NULL,
    channel        text        NOT NULL CHECK (channel IN ('email', 'webhook')),
    kind           text        NOT NULL,
    endpoint       text        NOT NULL, -- what takes it; messages to others don't wait for it
    address        text        NOT NULL, -- where it was last to go
    subject        text        NOT NULL,
    body           text        NOT NULL,
    body_html      text,
    status         text        NOT NULL DEFAULT 'waiting' CHECK (status IN ('waiting', 'delivered', 'dead')),
    attempts       integer     NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    not_before     timestamptz NOT NULL, -- when it is due; while a deliverer has it, when its lease ends
    lease          uuid,                 -- of the deliverer that has it
    last_error     text,
    created_at     timestamptz NOT NULL,
    delivered_at   timestamptz,
    CONSTRAINT message_delivered_at_a_time CHECK ((status = 'delivered') = (delivered_at IS NOT NULL)),
    FOREIGN KEY (tenant, customer_id) REFERENCES notification.preference
);
-- The endpoints that something waits for are found by hopping from one to the next, and of each what is due first.
CREATE INDEX message_due ON notification.message (endpoint, not_before, message_id) WHERE status = 'waiting';
CREATE INDEX message_by_age ON notification.message (tenant, created_at, message_id);
CREATE INDEX message_by_status ON notification.message (tenant, status, created_at, message_id);
CREATE INDEX message_by_customer ON notification.message (tenant, customer_id, created_at, message_id);

-- Who had a dead message sent again, and why.
CREATE TABLE notification.replay (
    message_id uuid        NOT NULL REFERENCES notification.message,
    number     integer     NOT NULL CHECK (number > 0),
    by         text        NOT NULL,
    reason     text        NOT NULL,
    at         timestamptz NOT NULL,
    attempts   integer     NOT NULL, -- that had been made until then
    last_error text,
    PRIMARY KEY (message_id, number)
);
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON notification.replay EXECUTE FUNCTION refuse_change();

-- ---- the application's role: what a message says stays as it was written ----
GRANT USAGE ON SCHEMA notification TO casaflow_app;
GRANT SELECT ON notification.preference, notification.preference_change, notification.message, notification.replay TO casaflow_app;
GRANT INSERT (tenant, customer_id, accounts, email, webhook_url, webhook_secrets, wishes, enabled, webhook_gone, since, version),
      UPDATE (accounts, email, webhook_url, webhook_secrets, wishes, enabled, webhook_gone, since, version)
   ON notification.preference TO casaflow_app;
GRANT INSERT (tenant, customer_id, version, action, by, at) ON notification.preference_change TO casaflow_app;
GRANT INSERT (message_id, tenant, event_id, transaction_id, customer_id, channel, kind, endpoint, address, subject, body, body_html,
              not_before, created_at),
      UPDATE (address, status, attempts, not_before, lease, last_error, delivered_at)
   ON notification.message TO casaflow_app;
GRANT INSERT (message_id, number, by, reason, at, attempts, last_error) ON notification.replay TO casaflow_app;
