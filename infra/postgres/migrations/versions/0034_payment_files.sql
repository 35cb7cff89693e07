-- Payment files. See decision record 0032.

CREATE TABLE payment_file (
    tenant        text        NOT NULL,
    file_id       uuid        NOT NULL,
    mode          text        NOT NULL CHECK (mode IN ('best-effort', 'atomic')),
    media_type    text        NOT NULL,
    size          bigint      NOT NULL CHECK (size >= 0), -- bytes
    content_hash  text        NOT NULL, -- SHA-256, hexadecimal
    message_id    text, -- as the file says it; known once it is validated
    header        jsonb       NOT NULL DEFAULT '{}',
    status        text        NOT NULL DEFAULT 'validating'
                              CHECK (status IN ('validating', 'posting', 'completed', 'rejected', 'cancelled')),
    paused        boolean     NOT NULL DEFAULT false,
    lines         bigint      NOT NULL DEFAULT 0 CHECK (lines >= 0),
    next_line     bigint      NOT NULL DEFAULT 1, -- lines before it are decided
    completed     bigint      NOT NULL DEFAULT 0,
    rejected      bigint      NOT NULL DEFAULT 0,
    problems      bigint      NOT NULL DEFAULT 0, -- all of them; the first ones are in payment_file_problem
    reason_code   text, -- why the file was rejected or cancelled
    reason_detail text,
    submitted_by  text        NOT NULL,
    submitted_at  timestamptz NOT NULL,
    finished_at   timestamptz,
    PRIMARY KEY (tenant, file_id),
    CONSTRAINT payment_file_decided_at_most_its_lines CHECK (completed + rejected <= lines),
    CONSTRAINT payment_file_finished_when_final CHECK ((status IN ('completed', 'rejected', 'cancelled')) = (finished_at IS NOT NULL))
);
-- Of a rejected file nothing was posted, so it may come again.
CREATE UNIQUE INDEX payment_file_content_once ON payment_file (tenant, content_hash) WHERE status <> 'rejected';
CREATE UNIQUE INDEX payment_file_message_once ON payment_file (tenant, message_id) WHERE message_id IS NOT NULL AND status <> 'rejected';
CREATE INDEX payment_file_by_age ON payment_file (tenant, submitted_at, file_id);
CREATE INDEX payment_file_unfinished ON payment_file (submitted_at) WHERE status IN ('validating', 'posting');

-- The bytes, in the order of their numbers. Stored before the file's own row, which counts: without it nobody finds them.
CREATE TABLE payment_file_content (
    tenant    text        NOT NULL,
    file_id   uuid        NOT NULL,
    number    integer     NOT NULL CHECK (number > 0),
    content   bytea       NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, file_id, number)
);
ALTER TABLE payment_file_content ALTER COLUMN content SET STORAGE EXTERNAL;

CREATE TABLE payment_file_problem (
    tenant   text    NOT NULL,
    file_id  uuid    NOT NULL,
    position integer NOT NULL CHECK (position > 0),
    place    text    NOT NULL,
    field    text    NOT NULL,
    value    text    NOT NULL,
    rule     text    NOT NULL,
    PRIMARY KEY (tenant, file_id, position)
);

-- A line becomes the transaction that it names. What that came to stands in the ledger, and nowhere twice.
CREATE TABLE payment_line (
    tenant                 text   NOT NULL,
    file_id                uuid   NOT NULL,
    number                 bigint NOT NULL CHECK (number > 0),
    place                  text   NOT NULL,
    transaction_id         uuid   NOT NULL,
    debtor                 text,
    creditor               text,
    amount                 bigint NOT NULL CHECK (amount BETWEEN 1 AND 1000000000000000),
    currency               text   NOT NULL,
    settlement             text   NOT NULL,
    end_to_end_id          text,
    reference              text,
    remittance_information text,
    value_date             date,
    metadata               jsonb  NOT NULL,
    instruction            jsonb  NOT NULL,
    PRIMARY KEY (tenant, file_id, number)
);

-- Why a line became no transaction.
CREATE TABLE payment_line_refusal (
    tenant  text   NOT NULL,
    file_id uuid   NOT NULL,
    number  bigint NOT NULL,
    code    text   NOT NULL,
    detail  text   NOT NULL,
    PRIMARY KEY (tenant, file_id, number)
);

-- Who paused, resumed or cancelled a file.
CREATE TABLE payment_file_action (
    tenant   text        NOT NULL,
    file_id  uuid        NOT NULL,
    position integer     NOT NULL CHECK (position > 0),
    action   text        NOT NULL CHECK (action IN ('pause', 'resume', 'cancel')),
    by       text        NOT NULL,
    reason   text,
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, file_id, position)
);
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON payment_file_action EXECUTE FUNCTION refuse_change();

-- Take away what uploads have left that broke off. The application may delete nothing, so this is done by the owner's rights.
CREATE FUNCTION forget_broken_uploads() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    forgotten bigint;
BEGIN
    DELETE FROM payment_file_content c
     WHERE c.stored_at < clock_timestamp() - interval '1 day'
       AND NOT EXISTS (SELECT FROM payment_file f WHERE f.tenant = c.tenant AND f.file_id = c.file_id);
    GET DIAGNOSTICS forgotten = ROW_COUNT;
    RETURN forgotten;
END $$;

DO $$
BEGIN
    REVOKE ALL ON FUNCTION forget_broken_uploads() FROM PUBLIC;
    EXECUTE format('ALTER FUNCTION forget_broken_uploads() SECURITY DEFINER SET search_path = %I, pg_temp', current_schema());
    GRANT EXECUTE ON FUNCTION forget_broken_uploads() TO casaflow_app;
END $$;

-- ---- the application's role: what a file and its lines say stays as it was written ----
GRANT SELECT ON payment_file, payment_file_content, payment_file_problem, payment_line, payment_line_refusal, payment_file_action
   TO casaflow_app;
GRANT INSERT (tenant, file_id, mode, media_type, size, content_hash, submitted_by, submitted_at),
      UPDATE (message_id, header, status, paused, lines, next_line, completed, rejected, problems, reason_code, reason_detail, finished_at)
   ON payment_file TO casaflow_app;
GRANT INSERT (tenant, file_id, number, content) ON payment_file_content TO casaflow_app;
GRANT INSERT (tenant, file_id, position, place, field, value, rule) ON payment_file_problem TO casaflow_app;
GRANT INSERT (tenant, file_id, number, place, transaction_id, debtor, creditor, amount, currency, settlement, end_to_end_id, reference,
              remittance_information, value_date, metadata, instruction) ON payment_line TO casaflow_app;
GRANT INSERT (tenant, file_id, number, code, detail) ON payment_line_refusal TO casaflow_app;
GRANT INSERT (tenant, file_id, position, action, by, reason) ON payment_file_action TO casaflow_app;
