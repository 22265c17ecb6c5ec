"""The incident report in its other forms: a page for print, and a vCon (draft-ietf-vcon-vcon-core-04). The document is the truth."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from importlib import resources
from typing import Any, Final

from markupsafe import Markup, escape

from server.names import name_of
from server.pages import duration, environment
from server.reports import zone_of

_WORDS: Final[dict[str, dict[str, Any]]] = {
    "ja": {
        "title": "インシデント報告書",
        "withheld": "氏名・メモは非表示",
        "shown": "氏名・メモを表示（取扱注意）",
        "open": "途中経過（通話はまだ終了していません）",
        "awaiting": "判定待ちの発話 {} 件",
        "call": "通話",
        "queue": "窓口",
        "agents": "オペレーター",
        "start": "開始",
        "end": "終了",
        "talk": "通話時間",
        "hold": "保留",
        "level": "最高重大度",
        "monitoring": "監視",
        "alerts": "アラートと証拠",
        "reason": "理由",
        "guideline": "根拠",
        "law": "適用の可能性がある法令",
        "history": "経過",
        "outcome": "結果",
        "note": "メモ",
        "procedure": "切電手順（オペレーターの発言）",
        "transcript": "通話記録",
        "purged": "保存期間を過ぎたため通話記録はありません",
        "flags": "見逃しの指摘",
        "versions": "ルールとモデル",
        "hash": "内容のハッシュ",
        "issued": "発行",
        "none": "なし",
        "partial": "（暫定）",
        "turned": "話者の表示は、逆と判明したため入れ替えてあります",
        "found_by": {"detected": "自動検知", "platform": "通話システムの訂正"},
    },
    "en": {
        "title": "Incident report",
        "withheld": "names and notes withheld",
        "shown": "with names and notes: handle with care",
        "open": "the call is going on; not complete",
        "awaiting": "still to be scored: {}",
        "call": "Call",
        "queue": "Queue",
        "agents": "Operators",
        "start": "Began",
        "end": "Ended",
        "talk": "Talk time",
        "hold": "Hold",
        "level": "Highest level",
        "monitoring": "Monitoring",
        "alerts": "Alerts and their evidence",
        "reason": "Why",
        "guideline": "Rests on",
        "law": "Law that may apply",
        "history": "What was done",
        "outcome": "Outcome",
        "note": "Note",
        "procedure": "Ending procedure, in the operator's own words",
        "transcript": "Transcript",
        "purged": "The transcript is past its retention",
        "flags": "Flagged as missed",
        "versions": "Rules and model",
        "hash": "Hash of the content",
        "issued": "Issued",
        "none": "none",
        "partial": "(partial)",
        "turned": "The platform had the two speakers the wrong way round; they are shown as they were",
        "found_by": {"detected": "found by Mamori", "platform": "corrected by the platform"},
    },
}


def incident_page(issued: Mapping[str, Any], *, language: str, timezone: str, inline_style: bool = False) -> str:
    """The report as a page to print.

    Args:
        issued: the document with its hash, and when and by whom it was issued.
        timezone: in which moments are shown.
        inline_style: put the style into the page, for a file; the server's pages may only link to it.
    """
    zone = zone_of(timezone)

    def local(moment: str) -> str:
        if not moment:
            return ""
        return f"{datetime.fromisoformat(moment).astimezone(zone):%Y-%m-%d %H:%M:%S}"

    style = resources.files("server").joinpath("console/incident.css").read_text(encoding="utf-8")
    return (
        environment()
        .get_template("incident.html")
        .render(
            w=_WORDS[language],
            language=language,
            timezone=timezone,
            doc=issued["incident"],
            issued=issued,
            style=Markup(style) if inline_style else "",  # noqa: S704 - our own file
            local=local,
            duration=duration,
            marked=marked,
            named=lambda code: name_of(code, language),
        )
    )


def marked(text: str, spans: list[Mapping[str, Any]]) -> Markup:
    """A text with its spans in `<mark>`; spans count code points, overlapping ones are joined."""
    out, at = Markup(), 0
    for span in sorted(spans, key=lambda item: (item["start"], -item["end"])):
        start, end = max(at, span["start"]), min(len(text), span["end"])
        if start >= end:
            continue
        out += escape(text[at:start]) + Markup("<mark>{}</mark>").format(text[start:end])
        at = end
    return out + escape(text[at:])


def vcon(issued: Mapping[str, Any]) -> dict[str, Any]:
    """The report as a vCon: the talk as text dialogs, the document with its hash as an analysis.

    The `uuid` follows from the call, so a report issued again is the same vCon; one without personal data names the other
    as the one it was redacted from.
    """
    document = issued["incident"]
    personal = document["personal_data"] == "shown"
    agents = [agent["name"] or agent["id"] for agent in document["agents"]] or ["agent"]
    parties = [{"name": name, "type": "person"} for name in ("customer", *agents)]
    dialogs = [
        {
            "type": "text",
            "start": segment["at"],
            "duration": max(0, segment["end_ms"] - segment["start_ms"]) / 1000,
            "parties": 0 if segment["speaker"] == "customer" else 1,
            "mediatype": "text/plain",
            "body": segment["text"],
            "encoding": "none",
        }
        for segment in document["transcript"]
    ]
    made: dict[str, Any] = {
        "vcon": "0.4.0",
        "uuid": _uuid(document, personal=personal),
        "created_at": issued["issued_at"],
        "subject": f"{document['call']['call_id']} {document['call']['level']}",
        "parties": parties,
        "dialog": dialogs,
        "analysis": [
            {
                "type": "report",
                "dialog": list(range(len(dialogs))),
                "vendor": "Mamori",
                "product": "Mamori",
                "schema": document["format"],
                "mediatype": "application/json",
                "encoding": "json",
                "body": dict(issued),
            }
        ],
        "attachments": [],
    }
    if not personal:
        made["redacted"] = {"uuid": _uuid(document, personal=True), "type": "personal data"}
    return made


def _uuid(document: Mapping[str, Any], *, personal: bool) -> str:
    """A UUID of version 8 (RFC 9562, section 5.8) out of the call's instance and the manner of redaction."""
    name = uuid.uuid5(uuid.NAMESPACE_OID, f"mamori:{document['call']['instance']}:{personal}").int
    return str(uuid.UUID(int=(name & ~(0xF << 76)) | (0x8 << 76)))
