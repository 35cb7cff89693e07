"""The real parts behind the ports of ``ledger.ports``: PostgreSQL, Kafka, Temporal, exchange rates, and the embedded stack."""
