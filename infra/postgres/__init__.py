"""PostgreSQL: all SQL of casaflow, its migrations, and the adapters of the ledger ports."""
