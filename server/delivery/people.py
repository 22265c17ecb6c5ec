"""Messages for people: the words, in both languages, and the shapes that Slack and Microsoft Teams expect. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from detector.alerts import Alert, AlertChange, AlertState
from server.delivery.slack import ACKNOWLEDGE
from server.names import name_of

if TYPE_CHECKING:
    from server.delivery.config import SenderConfig
    from server.delivery.payloads import Telling

_MAX_QUOTE_CHARS: Final = 200
_MAX_SECTION_CHARS: Final = 2_900
_MAX_HEADER_CHARS: Final = 150
"""Slack refuses a section of more than 3,000 characters and a header of more than 150."""

_WORDS: Final = {
    "ja": {
        "title": "カスハラ",
        "queue": "窓口",
        "call": "通話",
        "agent": "担当",
        "level": "重大度",
        "reason": "理由",
        "do": "対応",
        "said": "発言",
        "told": "連絡先",
        "by": "対応者",
        "outcome": "結果",
        "open": "通話を開く",
        "muted": "上限のため通知を控えた件数",
        "take": "対応する",
    },
    "en": {
        "title": "Harassment",
        "queue": "Queue",
        "call": "Call",
        "agent": "Agent",
        "level": "Level",
        "reason": "Why",
        "do": "Do",
        "said": "Said",
        "told": "Told",
        "by": "By",
        "outcome": "Outcome",
        "open": "Open the call",
        "muted": "Kept back by the budget",
        "take": "Take it",
    },
}


def headline(telling: Telling, language: str) -> str:
    """One line: what happened, how grave, what about, where."""
    words, alert = _WORDS[language], telling.alert
    where = f" ({alert.call.queue})" if alert.call.queue else ""
    what = f"{words['title']} {name_of(telling.change.value, language)}"
    return f"{what}: {_about(alert, language)} [{name_of(alert.level.value, language)}]{where}"


def facts(config: SenderConfig, telling: Telling) -> list[tuple[str, str]]:
    """What a person needs to know, as (name, text); what was said only if the sender's settings allow it."""
    language, alert = config.language, telling.alert
    words = _WORDS[language]
    found = [
        (words["call"], alert.call_id),
        (words["queue"], alert.call.queue),
        (words["agent"], alert.call.agent_id),
        (words["level"], name_of(alert.level.value, language)),
        (words["reason"], getattr(alert.reason_text, language) or alert.reason),
    ]
    if telling.change in (AlertChange.RAISED, AlertChange.UPDATED, AlertChange.UNATTENDED):
        found.append((words["do"], getattr(alert.suggestion.supervisor, language)))
        if config.transcript and alert.evidence:
            found.append((words["said"], alert.evidence[0].text[:_MAX_QUOTE_CHARS]))
    if telling.change is AlertChange.UNATTENDED:
        found.append((words["told"], ", ".join(alert.told) or "-"))
    if telling.change is AlertChange.ACKNOWLEDGED:
        found.append((words["by"], alert.acknowledged_by))
    if telling.change is AlertChange.RESOLVED:
        found += [(words["by"], alert.resolved_by), (words["outcome"], name_of(alert.outcome, language))]
    if telling.muted:
        found.append((words["muted"], str(telling.muted)))
    return [(name, text) for name, text in found if text]


def _about(alert: Alert, language: str) -> str:
    named = [getattr(item, language) for item in alert.guideline]
    return ("、" if language == "ja" else ", ").join(named) or name_of(alert.kind.value, language)


def slack(config: SenderConfig, telling: Telling) -> dict[str, Any]:
    """An incoming webhook's message with blocks, all of plain text: no word of a caller can mention or link anything."""
    title = headline(telling, config.language)
    lines = "\n".join(f"{name}: {text}" for name, text in facts(config, telling))
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": title[:_MAX_HEADER_CHARS], "emoji": False}},
        {"type": "section", "text": {"type": "plain_text", "text": lines[:_MAX_SECTION_CHARS], "emoji": False}},
    ]
    buttons = [_take_button(config, telling)] if _may_be_taken(config, telling) else []
    if telling.call_url:
        text = {"type": "plain_text", "text": _WORDS[config.language]["open"]}
        buttons.append({"type": "button", "text": text, "action_id": "open", "url": telling.call_url})
    if buttons:
        blocks.append({"type": "actions", "elements": buttons})
    return {"text": _escaped(title), "blocks": blocks}


def _may_be_taken(config: SenderConfig, telling: Telling) -> bool:
    asks = telling.change in (AlertChange.RAISED, AlertChange.UPDATED, AlertChange.UNATTENDED)
    return asks and config.signing_secret_file is not None and telling.alert.state is AlertState.OPEN


def _take_button(config: SenderConfig, telling: Telling) -> dict[str, Any]:
    text = {"type": "plain_text", "text": _WORDS[config.language]["take"]}
    return {
        "type": "button", "style": "primary", "text": text, "action_id": ACKNOWLEDGE, "value": telling.alert.alert_id,
    }  # fmt: skip


def _escaped(text: str) -> str:
    """The three escapes of Slack's message text, which also take away `<!channel>` and links."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def teams(config: SenderConfig, telling: Telling) -> dict[str, Any]:
    """A message with an adaptive card, as a Teams workflow takes it; text runs know no Markdown."""
    body = [_line((headline(telling, config.language), True))]
    body += [_line((f"{name}: ", True), (text, False)) for name, text in facts(config, telling)]
    card = _card(body)
    if telling.call_url:
        title = _WORDS[config.language]["open"]
        card["actions"] = [{"type": "Action.OpenUrl", "title": title, "url": telling.call_url}]
    return _card_message(card)


def _line(*runs: tuple[str, bool]) -> dict[str, Any]:
    inlines = [{"type": "TextRun", "text": text, **({"weight": "Bolder"} if bold else {})} for text, bold in runs]
    return {"type": "RichTextBlock", "inlines": inlines}


def _card(body: list[dict[str, Any]]) -> dict[str, Any]:
    schema = "http://adaptivecards.io/schemas/adaptive-card.json"
    return {"$schema": schema, "type": "AdaptiveCard", "version": "1.4", "body": body}


def _card_message(card: dict[str, Any]) -> dict[str, Any]:
    kind = "application/vnd.microsoft.card.adaptive"
    return {"type": "message", "attachments": [{"contentType": kind, "contentUrl": None, "content": card}]}


def test_message(config: SenderConfig, message_id: str, at: str) -> dict[str, Any]:
    """What a sender is sent to see whether it arrives."""
    text = "Mamori: テスト / test"
    match config.kind.value:
        case "slack":
            return {"text": text}
        case "teams":
            return _card_message(_card([_line((text, False))]))
        case "pagerduty":
            payload = {"summary": text, "source": "mamori", "severity": "info", "timestamp": at}
            return {"event_action": "trigger", "dedup_key": message_id, "payload": payload}
        case _:
            return {"type": "test", "timestamp": at, "data": {}}
