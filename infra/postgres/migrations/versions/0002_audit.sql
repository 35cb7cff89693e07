-- The audit group's own schema: every event once, in hash chains, and how far the group has come. See decision record 0005.

CREATE SCHEMA audit;

-- Where each partition goes on, written in the database transaction of the effect. Kafka's own committed offset only shows the lag.
CREATE TABLE audit.consumer_offset (
    consumer_group text        NOT NULL,
    topic          text        NOT NULL,
    partition      integer     NOT NULL CHECK (partition >= 0),
    next_offset    bigint      NOT NULL CHECK (next_offset >= 0),
    updated_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (consumer_group, topic, partition)
);

-- One chain for each partition of each topic: members of the group never wait for each other, and the order is the partition's own.
CREATE TABLE audit.chain (
    chain    text   PRIMARY KEY,
    sequence bigint NOT NULL CHECK (sequence > 0), -- of the last record
    hash     bytea  NOT NULL                       -- of the last record
);

CREATE TABLE audit.record (
    chain         text        NOT NULL,
    sequence      bigint      NOT NULL CHECK (sequence > 0),
    event_id      uuid,
    topic         text        NOT NULL,
    partition     integer     NOT NULL,
    "offset"      bigint      NOT NULL,
    type          text,
    key           text,
    source        text,
    subject       text,
    time          timestamptz,
    payload       text,
    problem       text, -- why the record could not be read as an event; then raw_record has its bytes
    raw_record    text, -- JSON with key, value and headers in base64
    previous_hash bytea       NOT NULL,
    hash          bytea       NOT NULL,
    recorded_at   timestamptz NOT NULL,
    PRIMARY KEY (chain, sequence),
    CONSTRAINT record_event_once UNIQUE (event_id),
    CONSTRAINT record_event_or_problem CHECK (
        (problem IS NULL AND raw_record IS NULL AND num_nulls(event_id, type, key, source, subject, time, payload) = 0)
        OR (problem IS NOT NULL AND raw_record IS NOT NULL AND num_nonnulls(event_id, type, key, source, subject, time, payload) = 0)
    )
);

-- Tells a record without an event's id from one that was read before, when a partition is read again from its beginning.
CREATE INDEX record_without_event ON audit.record (chain, "offset") WHERE problem IS NOT NULL;

CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.record EXECUTE FUNCTION refuse_change();

-- The canonical form: each field as its length in bytes, a colon and its text, or a hyphen when it is null; times as whole microseconds
-- since 1970. The lengths keep fields apart, so that no two records share a form. The consumer computes the same in Python.
CREATE FUNCTION audit.canonical_field(p_value text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT coalesce(octet_length(p_value) || ':' || p_value, '-') $$;

CREATE FUNCTION audit.microseconds(p_time timestamptz) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE AS $$
-- No consumer writes an infinite time; who did must be found out by a wrong hash, not by an error.
SELECT CASE WHEN isfinite(p_time) THEN CAST(CAST(extract(epoch FROM p_time) * 1000000 AS bigint) AS text) ELSE CAST(p_time AS text) END
$$;

CREATE FUNCTION audit.record_hash(r audit.record) RETURNS bytea
LANGUAGE sql STABLE PARALLEL SAFE AS $$
SELECT sha256(convert_to(
    audit.canonical_field(r.chain) || audit.canonical_field(CAST(r.sequence AS text)) || audit.canonical_field(CAST(r.event_id AS text))
    || audit.canonical_field(r.topic) || audit.canonical_field(CAST(r.partition AS text)) || audit.canonical_field(CAST(r."offset" AS text))
    || audit.canonical_field(r.type) || audit.canonical_field(r.key) || audit.canonical_field(r.source) || audit.canonical_field(r.subject)
    || audit.canonical_field(audit.microseconds(r.time)) || audit.canonical_field(r.payload) || audit.canonical_field(r.problem)
    || audit.canonical_field(r.raw_record) || audit.canonical_field(encode(r.previous_hash, 'hex'))
    || audit.canonical_field(audit.microseconds(r.recorded_at)), 'UTF8'))
$$;
