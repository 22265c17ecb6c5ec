"""The procedure for ending a call: `caution` → `first_warning` → `final_warning` → `may_end`.

A step counts only when the operator's own words gave it. The words are recognised by the classifier's cues where it
was asked, and by the patterns here in any case; a second warning is the final one however it is put.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from detector.labels import STEPS

CUE_SCORE: Final = 0.6
"""Score from which a cue of the classifier counts; below it the patterns alone decide."""

_CONTINUES_JA: Final = r"(続(く|き|ける|けられ|けて|行|い)|繰り返|やめ(て|ない)|止め(て|ない)|改め|お控え|これ以上|このまま|再度|今後も|また)"
_END_JA: Final = (
    r"((お)?電話(を|は)?.{0,8}(切ら|切る|終了|終わら|お切り)|(お)?通話(を|は)?.{0,8}(切|終了|終わ)|"
    r"(対応|応対|ご案内|お話|お電話)(を|は)?.{0,10}(終了|終わら|打ち切|控えさせ|できかね|いたしかね|いたしませ|いたしません|続けられ|出来かね))"
)
_PATTERNS: Final[Mapping[str, Mapping[str, re.Pattern[str]]]] = {
    "ja": {
        "caution": re.compile(
            r"(そのよう|そういった|そういう|先ほどのよう|今のよう|大きな声|大声|暴言|お言葉|ご発言|発言|言い方|おっしゃり方|言葉遣い|"
            r"個人的な(質問|こと)|威圧).{0,24}(お控え|控えて|おやめ|やめて|止めて|ご遠慮|遠慮|落ち着|お静かに|困り|差し控え)|"
            r"落ち着いて(お話|いただ|くださ)|冷静に(お話|お願い|いただ)"
        ),
        "first_warning": re.compile(
            _CONTINUES_JA + r".{0,48}" + _END_JA + r"|" + _CONTINUES_JA + r".{0,40}(警察|弁護士|法的)"
        ),
        "final_warning": re.compile(
            r"(最後(の|に|と|通告|の警告|のお願い)|最終|再三|何度もお願い|先ほど(も|から)(申し上げ|お伝え|お願い)|次に|もう一度(でも)?|"
            r"これが最後|既に一度|改めて申し上げ|二度目).{0,60}(" + _END_JA + r"|警告|お控え|終了|終話)"
        ),
        "may_end": re.compile(
            r"(これ(を|に|で)|これにて|それでは|では|ここで|申し訳.{0,8}|よって|ため|ので).{0,24}"
            r"((お)?電話(を|は)?(切らせて(いただ|頂)|終了(いたし|させて|し)|終わらせて|お切りし)|"
            r"(通話|対応|応対|お話)(を|は)?(終了(いたし|させて|します)|終わらせて|打ち切らせて|切らせて))|"
            r"(お)?電話(を|は)?切らせて(いただきます|頂きます)"
        ),
    },
    "en": {
        "caution": re.compile(
            r"\b(please|ask you|asking you|need you|kindly|would you|appreciate it if you|can you|could you|not okay|"
            r"not acceptable|inappropriate|unacceptable|won't tolerate|don't appreciate)\b.{0,50}\b(language|tone|shout(ing)?|yell(ing)?|"
            r"swear(ing)?|curs(e|ing)|insult(s|ing)?|remarks?|comments?|calm( down)?|respectful|civil|speak to me|raise your voice|"
            r"lower your voice|that word|personal questions?|threat(s|en|ening)?)\b|"
            r"\b(that|this|your) (kind of )?(language|tone|comments?|remarks?)\b.{0,40}\b(not|in)\w* ?(acceptable|appropriate|okay|called for)",
            re.IGNORECASE,
        ),
        "first_warning": re.compile(
            r"\b(if|should|unless|continu\w+|keep|any (more|further)|carry on|goes on|persist\w*)\b.{0,90}"
            r"\b(end(ing)? (the|this|our)|terminat\w+|disconnect\w*|hang(ing)? up|drop the call|close (the|this) call|"
            r"(have|need|forced|going|able) to (end|stop)|not be able to (continue|help)|unable to continue|call the police|report(ed)? (this|you|it))\b|"
            r"\b(end|terminate|disconnect)( the| this)? call\b.{0,50}\b(if|unless|should)\b",
            re.IGNORECASE,
        ),
        "final_warning": re.compile(
            r"\b(final|last|second) (warning|time|chance|notice|request)\b|\b(already|previously) (warned|asked|told) you\b.{0,80}"
            r"\b(end|terminat\w+|disconnect\w*|hang up)\b|\b(one more|once more|next (time|one))\b.{0,80}"
            r"\b(end|terminat\w+|disconnect\w*|hang(ing)? up)\b|\bi('m| am| will|'ll)? ?(not )?(going to )?(warn|warned|ask) you again\b",
            re.IGNORECASE,
        ),
        "may_end": re.compile(
            r"\b(i('m| am)|i('ll| will)|we('re| are)|i have to|i must|therefore|so|now)\b.{0,30}\b(now )?"
            r"(ending|end|terminating|terminate|disconnecting|disconnect|hanging up|hang up)( on)?\b(?!.{0,40}\b(if|unless|should)\b)|"
            r"\bthis call is (now )?(over|ended|being (ended|terminated|disconnected))\b",
            re.IGNORECASE,
        ),
    },
}
_CONDITIONAL: Final = {
    "ja": re.compile(r"(場合|なら|ようでし|ようであ|れば|たら|際は|限り|なければ|ことがあ|こともあ|可能性)"),
    "en": re.compile(
        r"\b(if|unless|should you|otherwise|or (else )?(i|we)('ll| will)|next time|one more|may have to|might have to)\b",
        re.IGNORECASE,
    ),
}


def act_of(text: str, language: str, cues: Mapping[str, float]) -> str:
    """What an operator's utterance does in the procedure.

    Args:
        text: the operator's words.
        language: `ja` or `en`.
        cues: the classifier's scores for `STEPS`, or empty when it was not asked.

    Returns:
        A step's name, or an empty string.
    """
    best = max(STEPS, key=lambda step: cues.get(step, 0.0))
    if cues.get(best, 0.0) >= CUE_SCORE:
        return best
    patterns = _PATTERNS.get(language, _PATTERNS["en"])
    conditional = _CONDITIONAL.get(language, _CONDITIONAL["en"]).search(text) is not None
    if patterns["may_end"].search(text) and not conditional:
        return "may_end"
    for step in ("final_warning", "first_warning", "caution"):
        if patterns[step].search(text):
            return step
    return ""


def advance(step: str, act: str) -> str:
    """The step that is reached when the operator does `act` at `step`.

    A warning after a warning is the final one; a caution after it changes nothing. An announced end counts only after
    a warning: an operator who says good-bye has not gone through the procedure.

    Args:
        step: the step so far, or an empty string.
        act: what the operator's words did, or an empty string.
    """
    if not act:
        return step
    order = {"": -1, **{name: index for index, name in enumerate(STEPS)}}
    if act == "first_warning" and order[step] >= order["first_warning"]:
        act = "final_warning"
    if act == "may_end" and order[step] < order["first_warning"]:
        return step
    return act if order[act] > order[step] else step


def next_step(step: str) -> str:
    """The step that follows, or `may_end` when all were given."""
    order = ("", *STEPS)
    return order[min(order.index(step) + 1, len(order) - 1)]
