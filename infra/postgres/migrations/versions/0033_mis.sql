-- What the group mis counts, per hour of UTC. An event adds to one row. Amounts are whole minor units. See decision record 0030.

-- Transactions that have ended, by the hour in which they ended.
CREATE TABLE mis.transaction_total (
    tenant       text           NOT NULL,
    hour         timestamptz    NOT NULL CHECK (mod(extract(epoch FROM hour), 3600) = 0),
    currency     text           NOT NULL,
    kind         text           NOT NULL,
    outcome      text           NOT NULL,
    reason       text           NOT NULL, -- empty: it was completed
    band         text           NOT NULL, -- of the instructed amount
    transactions bigint         NOT NULL CHECK (transactions > 0),
    amount       numeric(38, 0) NOT NULL CHECK (amount > 0),
    PRIMARY KEY (tenant, hour, currency, kind, outcome, reason, band)
) WITH (fillfactor = 50); -- room for heap-only updates: the rows of the hour change with every batch

-- Posted legs, by the hour in which they were booked.
CREATE TABLE mis.entry_total (
    tenant       text           NOT NULL,
    hour         timestamptz    NOT NULL CHECK (mod(extract(epoch FROM hour), 3600) = 0),
    currency     text           NOT NULL,
    kind         text           NOT NULL,
    leg          text           NOT NULL,
    direction    text           NOT NULL GENERATED ALWAYS AS (CASE WHEN leg IN ('debit', 'fee') THEN 'debit' ELSE 'credit' END) STORED,
    band         text           NOT NULL, -- of what was booked
    balance_band text           NOT NULL, -- of the ledger balance after a debit; empty: a credit
    entries      bigint         NOT NULL CHECK (entries > 0),
    amount       numeric(38, 0) NOT NULL CHECK (amount > 0),
    PRIMARY KEY (tenant, hour, currency, kind, leg, band, balance_band)
) WITH (fillfactor = 50);

GRANT SELECT ON mis.transaction_total, mis.entry_total TO casaflow_app;
GRANT INSERT (tenant, hour, currency, kind, outcome, reason, band, transactions, amount), UPDATE (transactions, amount)
   ON mis.transaction_total TO casaflow_app;
GRANT INSERT (tenant, hour, currency, kind, leg, band, balance_band, entries, amount), UPDATE (entries, amount)
   ON mis.entry_total TO casaflow_app;
