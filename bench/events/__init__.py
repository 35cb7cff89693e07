"""Events, published and applied, beside a plain aiokafka loop in the same run.

`casaflow bench events` (or `python -m bench.events`) uses the PostgreSQL and the Kafka of the running stack, or those that
`CASAFLOW_POSTGRES_URL` and `CASAFLOW_KAFKA_BOOTSTRAP_SERVERS` name, with databases, topics and consumer groups of its own that are deleted
at the end. The events are those of deposits and withdrawals that the ledger posts before the clock runs, two for each.

  publish      the worker's publisher, so many callers in flight, each with the two events of a transaction;
               beside it a producer with the same settings, the same records ready made, and as many callers
  relay        the relay empties an outbox, on one connection at a time
  apply        a member of a group, in a process of its own, applies what is on its topics: from the moment at which it knows its offsets
               until those that it has stored are at the ends; beside it a consumer with the same settings that reads and counts
  lag          all groups at once under a constant load: from a record's time stamp until its effect is committed

One side's turn follows the other's, and every other round the other one begins.
"""
