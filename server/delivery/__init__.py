"""Delivery beyond the open streams: webhooks, Slack, Microsoft Teams, PagerDuty, from a durable outbox, at least once."""
