"""The cluster engine: gateways and workers over NATS JetStream (input log, alert stream, leases) and PostgreSQL (state)."""
