from tests.servers import database, fresh_nats, nats, postgres  # noqa: F401 - fixtures
