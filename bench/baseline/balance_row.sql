-- A ledger with a balance row that credits and debits lock, in the schema {schema}: casaflow's own tables, with their constraints and indexes,
-- so that each leg writes the same rows; and the balance row in place of the online row and the view.
CREATE SCHEMA {schema};
CREATE TABLE {schema}.transaction (LIKE public.transaction INCLUDING ALL);
CREATE TABLE {schema}.decision (LIKE public.decision INCLUDING ALL);
CREATE TABLE {schema}.offline_entry (LIKE public.offline_entry INCLUDING ALL);
CREATE TABLE {schema}.online_entry (LIKE public.online_entry INCLUDING ALL);
CREATE TABLE {schema}.gl_entry (LIKE public.gl_entry INCLUDING ALL);
CREATE TABLE {schema}.event_outbox (LIKE public.event_outbox INCLUDING ALL);
CREATE TABLE {schema}.balance (
    tenant          text           NOT NULL,
    account_id      text           NOT NULL,
    currency        text           NOT NULL,
    status          text           NOT NULL,
    overdraft_limit bigint         NOT NULL,
    balance         numeric(38, 0) NOT NULL,
    version         bigint         NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, account_id)
) WITH (fillfactor = 50);

-- A balance row has nothing to fold, so it doesn't pay for the index that folding needs.
DO $$
DECLARE
    folding regclass;
BEGIN
    FOR folding IN
        SELECT i.indexrelid
          FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
         WHERE i.indrelid = CAST('{schema}.offline_entry' AS regclass) AND a.attname = 'xid'
    LOOP
        EXECUTE format('DROP INDEX %s', folding);
    END LOOP;
END $$;
