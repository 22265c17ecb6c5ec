"""Words that a classifier may take for abuse though they are aimed at nobody on the line: what somebody else said, and what the
speaker says of himself.

Such an utterance is shown as a notice and adds up to nothing, unless the operator answers it with a caution. Third parties are
left to the classifier: the words for them are those for a colleague of the operator, too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from detector.scoring import Span

REPORTED: Final = "reported"
OF_ONESELF: Final = "of_oneself"
MOSTLY: Final = 0.7
"""Share of a span that must lie within quotation marks to be quoted; spans are found by words, marks by characters."""

_QUOTE: Final = re.compile(r"[「『“\"][^」』”\"]{2,}[」』”\"]")
_REPORTED: Final = {
    "ja": re.compile(r"[「『][^」』]{2,}[」』]\s*(と|って|とか|とも|だって|みたいな)"),
    "en": re.compile(
        r"\b(he|she|they|someone|somebody|man|woman|guy|driver|boss|neighbou?r|it)\b[^.?!\"“]{0,40}\b(said|says|told|yelled|"
        r"shouted|wrote|texted|called|screamed|goes|went)\b",
        re.IGNORECASE,
    ),
}
_YOU: Final = {
    "ja": re.compile(r"お前|おまえ|てめえ|あんた|貴様|あなた|そっち|おたく|お宅|君|きみ"),
    "en": re.compile(r"\b(you|your|you're|u|ya)\b", re.IGNORECASE),
}
_INSULT_JA: Final = (
    r"(ど?(バカ|ばか|馬鹿|アホ|あほ|阿呆)|大馬鹿|間抜け|まぬけ|無能|役立たず|ドジ|たわけ|ぼけ|ボケ|のろま|クズ)"
)
_SELF_JA: Final = r"(私|わたし|あたし|僕|ぼく|俺|おれ|わし|自分)"
_OF_ONESELF: Final = {
    "ja": re.compile(
        rf"{_SELF_JA}(が|は|も|って|、|ほんと|本当に|の方が|のほうが){{0,2}}[^。！？]{{0,6}}{_INSULT_JA}|"
        rf"{_INSULT_JA}(な|だな|だわ|だね|やな|や|です(よ)?ね)?[、。\s]?{_SELF_JA}(は|が|、|。|って)|"
        rf"我ながら|{_INSULT_JA}(です|でし|者です)"
    ),
    "en": re.compile(
        r"\b(i'm|i am|i was|i've been|i feel|i felt|ain't i|what an?) (such |so |just |really |being |total |absolute |complete )*(an? |the )?"
        r"[\w' ]{0,16}(idiot|fool|moron|muppet|stupid|dumb|dummy|thick|useless|daft|silly|wally|twit|brainless|dope|clown|eejit|"
        r"plonker|numpty|prat|dill|ditz|airhead)|\bmy (own )?(stupid|daft|silly|fault)|"
        r"\b(stupid|silly|daft|useless|foolish) (me|of me|old me)\b|\bfor an? (fool|idiot)\b",
        re.IGNORECASE,
    ),
}


def doubt_of(text: str, language: str, labels: Sequence[str], spans: Sequence[Span]) -> str:
    """Why the words of an utterance may be aimed at nobody on the line.

    Whoever is spoken to as "you" outside a quotation is meant; so is, where there are quotation marks, whatever was found
    outside them.

    Args:
        labels: the harassment labels that were found.
        spans: where, in code points of `text`.

    Returns:
        `reported`, `of_oneself`, or an empty string.
    """
    if _YOU.get(language, _YOU["en"]).search(_QUOTE.sub(" ", text)):
        return ""
    quotes = [match.span() for match in _QUOTE.finditer(text)]
    inside = all(_overlap(span, quotes) >= MOSTLY * (span.end - span.start) for span in spans)
    if _REPORTED.get(language, _REPORTED["en"]).search(text) and (inside or not quotes):
        return REPORTED
    of_oneself = _OF_ONESELF.get(language, _OF_ONESELF["en"]).search(text) is not None
    return OF_ONESELF if of_oneself and set(labels) <= {"verbal_abuse"} else ""


def _overlap(span: Span, quotes: Sequence[tuple[int, int]]) -> int:
    return sum(max(0, min(span.end, end) - max(span.start, start)) for start, end in quotes)
