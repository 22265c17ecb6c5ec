"""HTML pages that stand alone: the prevalence report, with its plots drawn as SVG. Everything is escaped by the template engine."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from server.names import name_of

_WORDS: Final[dict[str, dict[str, Any]]] = {
    "ja": {
        "title": "カスタマーハラスメント発生状況",
        "nothing": "該当なし",
        "calls": "通話",
        "grave": "警告以上の通話",
        "share": "割合",
        "alerts": "アラート",
        "handle": "通話時間（中央値）",
        "acknowledge": "対応開始まで（中央値）",
        "false": "誤検知率",
        "by_day": "日別アラート",
        "by_hour": "時間帯別アラート",
        "by_label": "内容別",
        "by_level": "重大度別",
        "by_kind": "検知の種類別",
        "by_queue": "窓口別",
        "queue_columns": ["窓口", "通話", "警告以上", "割合", "アラート", "通話時間", "対応開始まで", "誤検知率"],
    },
    "en": {
        "title": "How often customers harassed operators",
        "nothing": "none",
        "calls": "calls",
        "grave": "calls with a warning or above",
        "share": "share",
        "alerts": "alerts",
        "handle": "handle time (median)",
        "acknowledge": "time to acknowledge (median)",
        "false": "false alarms",
        "by_day": "Alerts by day",
        "by_hour": "Alerts by hour",
        "by_label": "By label",
        "by_level": "By level",
        "by_kind": "By kind",
        "by_queue": "By queue",
        "queue_columns": ["Queue", "Calls", "With warning", "Share", "Alerts", "Handle", "Acknowledge", "False alarms"],
    },
}


def environment() -> Environment:
    """The templates of this package; everything put into them is escaped, a missing name is an error."""
    return Environment(loader=PackageLoader("server"), autoescape=True, undefined=StrictUndefined, trim_blocks=True)


def report_page(report: Mapping[str, Any], *, zone: tzinfo, language: str) -> str:
    """The prevalence report as one HTML file without scripts and without requests to anywhere."""
    words = _WORDS[language]
    figures = [
        (words["calls"], report["calls"]),
        (words["grave"], report["calls_with_warning"]),
        (words["share"], percent(report["share"])),
        (words["alerts"], report["alerts"]),
        (words["handle"], duration(report["handle_p50_ms"])),
        (words["acknowledge"], duration(report["acknowledge_p50_ms"])),
        (words["false"], percent(report["false_alarm_share"])),
    ]
    charts = {
        name: sorted(
            ((name_of(code, language), number) for code, number in report[name].items()), key=lambda pair: -pair[1]
        )
        for name in ("by_label", "by_level", "by_kind")
    }
    hours = [(f"{hour:02d}", report["by_hour"].get(f"{hour:02d}", 0)) for hour in range(24)]
    return (
        environment()
        .get_template("report.html")
        .render(
            report=report,
            w=words,
            language=language,
            figures=figures,
            hours=hours,
            charts=charts,
            since=local_text(report["since_ms"], zone),
            until=local_text(report["until_ms"], zone),
            percent=percent,
            duration=duration,
        )
    )


def local_text(utc_ms: int, zone: tzinfo) -> str:
    """A moment in a time zone, to the minute."""
    return f"{datetime.fromtimestamp(utc_ms / 1000, tz=UTC).astimezone(zone):%Y-%m-%d %H:%M}"


def percent(share: float | None) -> str:
    """A share in per cent, or a dash."""
    return "–" if share is None else f"{share:.1%}"


def duration(milliseconds: int | None) -> str:
    """Minutes and seconds, or a dash."""
    return "–" if milliseconds is None else f"{milliseconds // 60_000}:{milliseconds // 1000 % 60:02d}"
