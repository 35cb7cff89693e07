-- The store of one consumer group, in a schema of its own; run once for each group, with its name in place of `a_group`. See decision record 0028.

CREATE SCHEMA a_group;

-- Where each partition goes on, written in the database transaction of the effect. Kafka's own committed offset only shows the lag.
CREATE TABLE a_group.consumer_offset (
    consumer_group text        NOT NULL,
    topic          text        NOT NULL,
    partition      integer     NOT NULL CHECK (partition >= 0),
    next_offset    bigint      NOT NULL CHECK (next_offset >= 0),
    repeats        bigint      NOT NULL DEFAULT 0, -- events that came again, and had no second effect
    updated_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (consumer_group, topic, partition)
);

-- Each event that has had its effect, that is of no concern to the group, or that an operator has skipped.
CREATE TABLE a_group.applied_event (
    event_id   uuid        NOT NULL,
    topic      text        NOT NULL,
    partition  integer     NOT NULL,
    "offset"   bigint      NOT NULL,
    applied_at timestamptz NOT NULL,
    CONSTRAINT applied_event_once PRIMARY KEY (event_id)
);

-- Events that the group could not handle, and those of the same key that wait behind them. A row stays, whatever became of the event.
CREATE TABLE a_group.held_event (
    position     bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic        text        NOT NULL,
    partition    integer     NOT NULL,
    "offset"     bigint      NOT NULL,
    key          text,       -- null: of what is no event, nothing waits behind it
    event_id     uuid,
    type         text,
    subject      text,
    raw_record   text        NOT NULL, -- JSON with key, value and headers in base64
    status       text        NOT NULL CHECK (status IN ('failed', 'waiting', 'unreadable', 'applied', 'skipped')),
    error        text,
    error_type   text,
    attempts     integer     NOT NULL,
    held_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_by   text,
    reason       text,       -- the operator's
    told_at      timestamptz, -- when it was on the dead-letter topic
    CONSTRAINT held_event_or_unreadable CHECK (num_nulls(key, event_id, type, subject) = CASE WHEN error_type = 'unreadable' THEN 4 ELSE 0 END)
);
CREATE UNIQUE INDEX held_event_once ON a_group.held_event (event_id) WHERE status IN ('failed', 'waiting');
CREATE INDEX held_event_by_key ON a_group.held_event (topic, key, position) WHERE status IN ('failed', 'waiting');
CREATE INDEX held_event_unreadable ON a_group.held_event (topic, partition, "offset") WHERE error_type = 'unreadable';
CREATE INDEX held_event_untold ON a_group.held_event (position) WHERE told_at IS NULL AND status IN ('failed', 'unreadable');

GRANT USAGE ON SCHEMA a_group TO casaflow_app;
GRANT SELECT ON ALL TABLES IN SCHEMA a_group TO casaflow_app;
GRANT INSERT (consumer_group, topic, partition, next_offset, updated_at), UPDATE (next_offset, repeats, updated_at)
   ON a_group.consumer_offset TO casaflow_app;
GRANT INSERT (event_id, topic, partition, "offset", applied_at) ON a_group.applied_event TO casaflow_app;
GRANT INSERT (topic, partition, "offset", key, event_id, type, subject, raw_record, status, error, error_type, attempts, changed_by, reason),
      UPDATE (status, error, error_type, attempts, changed_at, changed_by, reason, told_at)
   ON a_group.held_event TO casaflow_app;
