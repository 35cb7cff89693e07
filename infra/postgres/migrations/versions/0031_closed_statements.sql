-- The statement group's lines and closed statements. See decision record 0031.

-- One line for each posted leg, as its event tells it. The key gives the order of a statement.
CREATE TABLE statement.line (
    tenant                 text        NOT NULL,
    account_id             text        NOT NULL,
    booked_at              timestamptz NOT NULL,
    transaction_id         uuid        NOT NULL,
    leg                    text        NOT NULL COLLATE "C",
    event_id               uuid        NOT NULL,
    currency               text        NOT NULL,
    direction              text        NOT NULL CHECK (direction IN ('credit', 'debit')),
    amount                 bigint      NOT NULL CHECK (amount > 0),
    value_date             date        NOT NULL,
    version                bigint, -- a debit's gapless number
    counterparty           text,
    reference              text,
    remittance_information text,
    CONSTRAINT line_once PRIMARY KEY (tenant, account_id, booked_at, transaction_id, leg),
    CONSTRAINT line_version_of_debits CHECK ((version IS NULL) = (direction = 'credit'))
);

-- Closed for good: nothing is booked before `until_at` any more, and all of it is in the lines.
CREATE TABLE statement.closed (
    tenant          text        NOT NULL,
    account_id      text        NOT NULL,
    number          integer     NOT NULL CHECK (number > 0),
    currency        text        NOT NULL,
    since           timestamptz NOT NULL,
    until_at        timestamptz NOT NULL,
    opening_balance numeric(38) NOT NULL,
    credited        numeric(38) NOT NULL,
    debited         numeric(38) NOT NULL,
    closing_balance numeric(38) NOT NULL,
    lines           bigint      NOT NULL CHECK (lines > 0),
    closed_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT closed_once PRIMARY KEY (tenant, account_id, number),
    CONSTRAINT closed_period CHECK (since < until_at),
    CONSTRAINT closed_adds_up CHECK (opening_balance + credited - debited = closing_balance)
);

-- Up to where all accounts are closed, so that nobody looks for more before the next period has ended.
CREATE TABLE statement.closing_run (
    until_at    timestamptz PRIMARY KEY,
    accounts    bigint      NOT NULL,
    finished_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON statement.line EXECUTE FUNCTION refuse_change();
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON statement.closed EXECUTE FUNCTION refuse_change();

GRANT SELECT ON statement.line, statement.closed, statement.closing_run TO casaflow_app;
GRANT INSERT (tenant, account_id, booked_at, transaction_id, leg, event_id, currency, direction, amount, value_date, version, counterparty,
              reference, remittance_information) ON statement.line TO casaflow_app;
GRANT INSERT (tenant, account_id, number, currency, since, until_at, opening_balance, credited, debited, closing_balance, lines)
   ON statement.closed TO casaflow_app;
GRANT INSERT (until_at, accounts) ON statement.closing_run TO casaflow_app;
