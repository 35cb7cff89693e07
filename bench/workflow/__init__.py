"""Whole transactions, beside an empty workflow, the plain design and DBOS, on one stack of the benchmark's own in one run.

`casaflow bench workflow` (or `python -m bench.workflow`) starts PostgreSQL, Temporal and Kafka in a folder of its own, and removes them
at the end. One process starts workflows and hosts the worker; all sides but DBOS share that worker and its settings.
The sides:

  empty        a workflow that returns at once: what Temporal costs before anything is done
  plain        the usual way: three ordinary activities, one after the other, which ask for a rate, post a deposit and publish its events
  casaflow     deposit, withdrawal, transfer, transfer across currencies, started as the API starts them
  over HTTP    casaflow's deposit again, through the API of the stack, which is a process of its own
  DBOS         a durable workflow with one step that debits a balance row, in a process of its own, on the same PostgreSQL

CPU milliseconds are those of all processes that took part, for each transaction; they hold also where other work shares the machine.
"""
