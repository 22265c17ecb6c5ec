from __future__ import annotations

from datetime import UTC, datetime

import pytest

from server.delivery.config import SenderKind
from server.delivery.post import _retry_after
from server.delivery.retry import PUSH_WAITS_S, WEBHOOK_WAITS_S, Attempt, Verdict, decide

WEBHOOK, SLACK, PAGER = SenderKind.WEBHOOK, SenderKind.SLACK, SenderKind.PAGERDUTY


@pytest.mark.parametrize(
    ("kind", "attempt", "made", "verdict", "reason"),
    [
        (WEBHOOK, Attempt(status=200), 1, Verdict.SENT, "sent"),
        (WEBHOOK, Attempt(status=204), 9, Verdict.SENT, "sent"),
        (WEBHOOK, Attempt(status=410), 1, Verdict.GONE, "http_410"),
        (WEBHOOK, Attempt(status=302), 1, Verdict.RETRY, "redirect"),
        (WEBHOOK, Attempt(status=400), 1, Verdict.RETRY, "http_400"),
        (WEBHOOK, Attempt(status=500), 9, Verdict.RETRY, "http_500"),
        (WEBHOOK, Attempt(status=500), 10, Verdict.DEAD, "http_500"),
        (WEBHOOK, Attempt(error="timeout"), 1, Verdict.RETRY, "timeout"),
        (WEBHOOK, Attempt(error="address_refused"), 1, Verdict.DEAD, "address_refused"),
        (PAGER, Attempt(status=202), 1, Verdict.SENT, "sent"),
        (PAGER, Attempt(status=400), 1, Verdict.DEAD, "http_400"),
        (PAGER, Attempt(status=429), 1, Verdict.RETRY, "http_429"),
        (SLACK, Attempt(status=404), 1, Verdict.DEAD, "http_404"),
        (SLACK, Attempt(status=410), 1, Verdict.GONE, "http_410"),
        (SLACK, Attempt(error="connection"), 5, Verdict.RETRY, "connection"),
        (SLACK, Attempt(error="connection"), 6, Verdict.DEAD, "connection"),
    ],
)
def test_what_follows_an_attempt(kind, attempt, made, verdict, reason):
    decision = decide(kind, attempt, made=made, chance=0)
    assert (decision.verdict, decision.reason) == (verdict, reason)


def test_the_published_schedule():
    waits = [decide(WEBHOOK, Attempt(status=500), made=made, chance=0).wait_s for made in range(1, 10)]
    assert waits == [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]
    assert len(WEBHOOK_WAITS_S) == 9
    assert sum(PUSH_WAITS_S) < 3600


def test_waits_are_spread_and_a_receiver_may_ask_for_more():
    assert decide(WEBHOOK, Attempt(status=500), made=2, chance=1).wait_s == pytest.approx(330)
    assert decide(WEBHOOK, Attempt(status=503, retry_after_s=60), made=1, chance=0).wait_s == 60
    assert decide(WEBHOOK, Attempt(status=503, retry_after_s=1), made=2, chance=0).wait_s == 300
    assert decide(WEBHOOK, Attempt(status=503, retry_after_s=1e9), made=1, chance=0).wait_s == 86_400


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (b"120", 120), (b"Wed, 01 Jan 2025 00:01:00 GMT", 60), (b"Tue, 31 Dec 2024 00:00:00 GMT", 0),
        (b"soon", None), (b"-5", None), (b"9" * 30, None), (None, None),
    ],
)  # fmt: skip
def test_retry_after(header, seconds):
    assert _retry_after(header, datetime(2025, 1, 1, tzinfo=UTC)) == seconds
