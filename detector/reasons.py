"""Why an alert stands, in both languages: one sentence that a supervisor reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from detector.alerts import Phrase

NONE: Final = Phrase(ja="", en="")

_LABELS_JA: Final = {
    "verbal_abuse": "暴言",
    "threat": "脅迫",
    "exposure": "晒し・拡散の脅し",
    "excessive_demand": "過大な要求",
    "authority": "権威を振りかざす言動",
    "discrimination": "差別的言動",
    "sexual": "性的な言動",
    "intrusion": "個人への干渉",
}
_GRAVE: Final = {
    "life": Phrase(ja="生命・身体への脅迫", en="threat to life or body"),
    "crime": Phrase(ja="犯罪の予告", en="announced crime"),
    "stalking": Phrase(ja="つきまといの示唆", en="stalking"),
}


def label_ja(label: str) -> str:
    """A label's name in Japanese."""
    return _LABELS_JA.get(label, label)


def clear(label: str) -> Phrase:
    """One utterance carries the label without doubt."""
    return Phrase(ja=f"明らかな{label_ja(label)}", en=f"clear {label}")


def grave(kind: str) -> Phrase:
    """`life`, `crime` or `stalking`."""
    return _GRAVE[kind]


def after_warning(label: str) -> Phrase:
    """The same again after the operator's warning."""
    return Phrase(ja=f"一次警告の後の{label_ja(label)}", en=f"{label} on a call that already had a first warning")


def masked() -> Phrase:
    """All that there is is a masked word."""
    return Phrase(ja="伏せ字の言葉がある（弱い手がかり）", en="a word was masked before it got here")


def unclear(label: str) -> Phrase:
    """One utterance points to the label."""
    return Phrase(ja=f"{label_ja(label)}の疑い", en=f"unclear {label}")


_DOUBTS: Final = {
    "reported": Phrase(ja="他人の言葉の引用らしい", en="that seems to be reported"),
    "of_oneself": Phrase(ja="自分自身についての言葉らしい", en="that seems to be about the speaker"),
}


def doubtful(label: str, doubt: str) -> Phrase:
    """One utterance carries the label, but perhaps against nobody on the line."""
    why = _DOUBTS[doubt]
    return Phrase(ja=f"{label_ja(label)}に当たる言葉（{why.ja}）", en=f"{label} {why.en}")


def cautioned(label: str) -> Phrase:
    """One utterance points to the label, and the operator answered it with a caution."""
    return Phrase(
        ja=f"{label_ja(label)}の疑い（オペレーターが注意した発言）", en=f"unclear {label} that the operator cautioned"
    )


def several_kinds(labels: Sequence[str]) -> Phrase:
    """Different kinds of harassment on one call."""
    return Phrase(
        ja=f"複数の種類のハラスメント：{'、'.join(map(label_ja, labels))}",
        en=f"two kinds of harassment: {', '.join(labels)}",
    )


def unclear_again(count: int, label: str, minutes: float) -> Phrase:
    """Several utterances that each only point to a label."""
    return Phrase(
        ja=f"{minutes:.0f}分以内に{label_ja(label)}の疑いが{count}回",
        en=f"{count} utterances that point to {label} within {minutes:.0f} minutes",
    )


def rounds(count: int, *, abused: bool) -> Phrase:
    """The same complaint came again after an answer."""
    return Phrase(
        ja=f"回答後に同じ申し出が{count}回目" + ("（暴言等を伴う）" if abused else ""),
        en=f"the same complaint for the {_ordinal(count)} time, each after an answer"
        + (", on a call with abuse" if abused else ""),
    )


def earlier_calls(count: int, days: int) -> Phrase:
    """The same caller called before about the same."""
    return Phrase(
        ja=f"{days}日以内に同じ用件の通話が{count}回", en=f"{count} earlier calls about the same within {days} days"
    )


def overlong(minutes: int, limit: int, *, deadlock_rounds: int, calm: bool) -> Phrase:
    """Talk time passed a limit; `deadlock_rounds` is 0 unless a deadlock brought the limit forward."""
    ja, en = f"通話{minutes}分（基準{limit}分）", f"{minutes} minutes of talk, limit {limit}"
    if deadlock_rounds:
        ja += f"、同じ申し出{deadlock_rounds}回の膠着により前倒し"
        en += f"; brought forward by a deadlock ({deadlock_rounds} raisings of one complaint)"
    elif calm:
        ja += "、平穏なため注意のみ"
        en += "; calm, so a notice only"
    return Phrase(ja=ja, en=en)


_KINDS_JA: Final = {"abuse": "暴言等", "repetition": "繰り返し", "overlong": "長時間"}


def together(reason: Phrase, kinds: Sequence[str]) -> Phrase:
    """A house rule lifted the level because of other alerts on the same call."""
    return Phrase(
        ja=f"{reason.ja}（{'・'.join(_KINDS_JA[kind] for kind in kinds)}の併発により引き上げ）",
        en=f"{reason.en}; raised because of {' and '.join(kinds)} on the same call",
    )


_DISTRESS: Final = {
    "help": Phrase(ja="オペレーターが助けを求めています", en="the operator asks for help"),
    "caller_at_risk": Phrase(
        ja="発信者が自死・自傷に言及しています", en="caller_at_risk: the caller speaks of self-harm"
    ),
    "apology_loop": Phrase(ja="オペレーターが謝罪を繰り返しています", en="the operator apologises again and again"),
    "silence_after_abuse": Phrase(
        ja="暴言の後、オペレーターが沈黙しています", en="the operator fell silent after abuse"
    ),
}


def distress(causes: Sequence[str]) -> Phrase:
    """What was found, gravest first."""
    return Phrase(
        ja="、".join(_DISTRESS[cause].ja for cause in causes), en="; ".join(_DISTRESS[cause].en for cause in causes)
    )


def _ordinal(number: int) -> str:
    if 10 <= number % 100 <= 20:
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"
