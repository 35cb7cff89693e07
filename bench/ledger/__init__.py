"""The ledger alone, without Temporal and Kafka, beside balance rows that are locked, on the same PostgreSQL in the same run.

`casaflow bench ledger` (or `python -m bench.ledger`) uses the PostgreSQL of the running stack, in databases of its own that are dropped at
the end. The sides:

  casaflow     the ledger as a worker process has it
  locked row   `pgbench -M prepared` with the scripts of bench/baseline: a balance row and an entry, two rows for each debit
  one by one   the same rows as casaflow's under a locked balance row, through SQLAlchemy, each leg in a database transaction of its own
  batched row  the same rows under a locked balance row, batched as casaflow batches its debits

From one by one to batched row is what batching brings, from there to casaflow what the split into offline and online brings.
"""
