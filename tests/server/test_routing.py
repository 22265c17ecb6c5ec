from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from server.routing import Hours, RoutingTable


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("span", "moment", "covered"),
    [
        ("mon-fri 09:00-18:00", "2026-11-23 09:00", True),
        ("mon-fri 09:00-18:00", "2026-11-23 08:59:59", False),
        ("mon-fri 09:00-18:00", "2026-11-23 18:00", False),
        ("mon-fri 09:00-18:00", "2026-11-22 12:00", False),
        ("sat,sun 00:00-24:00", "2026-11-22 23:59:59", True),
        ("fri-mon 10:00-11:00", "2026-11-22 10:30", True),
        ("22:00-06:00", "2026-11-23 23:00", True),
        ("22:00-06:00", "2026-11-23 05:59", True),
        ("22:00-06:00", "2026-11-23 06:00", False),
        ("fri 22:00-06:00", "2026-11-28 03:00", True),
        ("fri 22:00-06:00", "2026-11-27 03:00", False),
    ],
)
def test_hours(span, moment, covered):
    assert Hours(span).covers(datetime.fromisoformat(moment)) is covered


@pytest.mark.parametrize("span", ["9-18", "mon 09:00", "foo 09:00-18:00", "25:00-26:00", "09:00-09:00", "mon-xyz 1-2"])
def test_hours_that_say_nothing_are_refused(span):
    with pytest.raises(ValueError, match=r"expected|empty"):
        Hours(span)


TABLE = RoutingTable.model_validate(
    {
        "timezone": "Asia/Tokyo",
        "unattended_s": 90,
        "routes": [
            {
                "queue": "billing",
                "tiers": [
                    {"people": ["hanako"], "hours": ["mon-fri 09:00-18:00"], "after_s": 30},
                    {"people": ["lead"], "hours": ["mon-fri 09:00-22:00"]},
                    {"senders": ["pager"], "hours": ["mon-sat 00:00-24:00"]},
                ],
            },
            {"queue": "*", "tiers": [{"senders": ["slack"]}]},
        ],
    }
)
MONDAY_10_JST, MONDAY_20_JST, SUNDAY_12_JST = ms("2026-11-23 01:00"), ms("2026-11-23 11:00"), ms("2026-11-22 03:00")


def test_hours_are_read_in_the_time_zone():
    assert TABLE.first("default", "billing", utc_ms=MONDAY_10_JST) == 0
    assert TABLE.first("default", "billing", utc_ms=MONDAY_20_JST) == 1


def test_when_nobody_is_on_duty_the_last_tier_is_told():
    assert TABLE.on_duty("default", "billing", utc_ms=SUNDAY_12_JST) is None
    assert TABLE.first("default", "billing", utc_ms=SUNDAY_12_JST) == 2


def test_the_next_tier_is_the_next_on_duty_and_after_the_last_there_is_none():
    assert TABLE.next("default", "billing", 0, utc_ms=MONDAY_10_JST) == (1, ("lead",))
    assert TABLE.next("default", "billing", 1, utc_ms=MONDAY_10_JST) == (2, ("pager",))
    assert TABLE.next("default", "billing", 2, utc_ms=MONDAY_10_JST) == (3, ())
    assert TABLE.next("default", "billing", 2, utc_ms=SUNDAY_12_JST) == (3, ())
    assert TABLE.last("default", "billing", 3)
    assert not TABLE.last("default", "billing", 2)


def test_a_tier_has_its_own_time_or_the_houses():
    assert TABLE.due_ms("default", "billing", 0, since_ms=1000) == 31_000
    assert TABLE.due_ms("default", "billing", 1, since_ms=1000) == 91_000


def test_other_queues_take_the_star_and_other_tenants_nothing():
    assert TABLE.tier("default", "tech", 0).senders == ("slack",)
    assert TABLE.route("b", "billing") is None
    assert TABLE.unrouted([("default", "tech"), ("b", "billing")]) == [("b", "billing")]


@pytest.mark.parametrize(
    "wrong",
    [
        {"timezone": "Mars/Olympus"},
        {"timezone": "../../etc/passwd"},
        {"unattended_s": 0},
        {"least_level": "none"},
        {"routes": [{"queue": "a", "tiers": []}]},
        {"routes": [{"queue": "a", "tiers": [{"hours": ["later"]}]}]},
        {"routes": [{"queue": "a", "tears": []}]},
    ],
)
def test_a_wrong_table_is_refused(wrong):
    with pytest.raises(ValidationError):
        RoutingTable.model_validate(wrong)
