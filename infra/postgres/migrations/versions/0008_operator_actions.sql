-- What operators did with transactions and holds: who, when, why. See decision record 0014.
-- Without a foreign key: an approval comes before anything of the transaction is recorded, and a hold is no transaction.
CREATE TABLE operator_action (
    tenant         text        NOT NULL,
    transaction_id uuid        NOT NULL, -- or a hold's id
    position       integer     NOT NULL CHECK (position > 0),
    action         text        NOT NULL,
    by             text        NOT NULL,
    reason         text,
    at             timestamptz NOT NULL,
    detail         jsonb       NOT NULL DEFAULT '{}',
    recorded_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, transaction_id, position),
    -- The same command again is no second action.
    CONSTRAINT operator_action_once UNIQUE (tenant, transaction_id, action, by, at)
);
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON operator_action EXECUTE FUNCTION refuse_change();
GRANT INSERT (tenant, transaction_id, position, action, by, reason, at, detail) ON operator_action TO casaflow_app;
