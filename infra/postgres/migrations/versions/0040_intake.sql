-- Whether new work is taken: closed by `casaflow drain`, and looked at by every API each second. One row. See decision record 0040.
CREATE TABLE intake (
    only_row   boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    is_open    boolean     NOT NULL DEFAULT true,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_by text,       -- NULL: as this revision made it
    reason     text
);
INSERT INTO intake DEFAULT VALUES;
GRANT UPDATE (is_open, changed_at, changed_by, reason) ON intake TO casaflow_app;
