"""Notices when a platform has the two speakers the wrong way round: who says "thank you for calling", who complains?

Counts phrases that only one side of a service call uses. It takes both sides to convict: the side labelled customer
talks like an operator, and the other never does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from detector.labels import Speaker
from detector.text import speaks_like_an_agent

WINDOW: Final = 20
"""Finals within which speakers are checked: greetings and the first complaint come early."""
ALONE: Final = 2
"""Phrases of an operator on the customer's side that convict though the other side never complained."""
MANNERS: Final = 3
"""Turns in an operator's manner on the customer's side alone that convict; one fewer with a complaint on the other side."""
_MANNER: Final = {
    "ja": re.compile(
        r"いたし(ます|まし|かね)|ございま(す|せ)|おりま(す|せ|し)|かしこまり|承(り|知)|お待ちください|いただけますでしょうか|恐れ入ります"
    ),
    "en": re.compile(
        r"\bspeaking\b|\bthis is [a-z]+[,.]?$|\bi'?m afraid\b|\b(could|may|can) i (take|have) your\b|\bgood (morning|afternoon|evening)\b|"
        r"\bi('ll| will| can) (book|send|pass|put|have|check|replace|look|offer|move|arrange|reset|get)\b|"
        r"\bi('ve| have) (checked|added|booked|sent)\b|\bwe('ll| will| can|'ve| have)? (offer|add|send|replace|write|wrote|written|a photo)\b|"
        r"\b(on|in|to|under) your (account|plan|system|tenancy|meter|file|policy|agreement)\b|\bnot to worry\b|\bi'?m sorry (about|for)\b",
        re.IGNORECASE,
    ),
}
_CALLER: Final = {
    "ja": re.compile(
        r"んです(けど|けれど|が)|もらえ(ます|ませ)ん?か|てくれ|届(か|いて)ない|どうなって|いつまで|なんで|どういうこと|"
        r"(うち|こっち|私)(の|は|が)|ふざけ|責任者|買った|予約した|契約した|解約したい|使えない|動かない|お前|てめえ"
    ),
    "en": re.compile(
        r"\bi('m| am) calling (about|because)|\bi('ve| have) (been|got a|already)\b|\bi want\b|\bi (bought|ordered|booked|paid)\b|"
        r"\bmy (order|bill|account|internet|refund|phone|parcel|package|flight|card|policy|contract)\b|"
        r"\b(never|still not|hasn't|haven't) (arrived|come|received|got)\b|\bwhere('s| is) my\b|\byou (people|guys|lot)\b",
        re.IGNORECASE,
    ),
}


def speaks_like_a_caller(text: str, language: str) -> bool:
    """Whether hardly anybody but a caller would say this (「届かないんですけど」, "where's my parcel")."""
    return _CALLER.get(language, _CALLER["en"]).search(text) is not None


@dataclass(slots=True, kw_only=True)
class SpeakerWatch:
    """What was heard on each side while the speakers are in doubt; plain data.

    Args:
        settled: nothing more is counted: both sides are known, or the platform has spoken.
        turned: `detected` or `platform` once the labels were turned round, else empty.
        finals: how many were heard.
        operator_as_agent, operator_as_customer: operators' phrases by label.
        manner_as_agent, manner_as_customer: turns in an operator's manner by label.
        caller_as_agent, caller_as_customer: callers' phrases by label.
    """

    settled: bool = False
    turned: str = ""
    finals: int = 0
    operator_as_agent: int = 0
    operator_as_customer: int = 0
    manner_as_agent: int = 0
    manner_as_customer: int = 0
    caller_as_agent: int = 0
    caller_as_customer: int = 0

    def hear(self, text: str, language: str, speaker: Speaker) -> bool:
        """Counts a final.

        Args:
            text: what was said.
            language: `ja` or `en`.
            speaker: as the platform labels it.

        Returns:
            Whether the labels are found to be the wrong way round, now; said once.
        """
        if self.settled:
            return False
        self.finals += 1
        operator = speaks_like_an_agent(text, language)
        manner = operator or _MANNER.get(language, _MANNER["en"]).search(text.strip()) is not None
        caller = not manner and speaks_like_a_caller(text, language)
        if speaker is Speaker.AGENT:
            self.operator_as_agent += operator
            self.manner_as_agent += manner
            self.caller_as_agent += caller
        elif speaker is Speaker.CUSTOMER:
            self.operator_as_customer += operator
            self.manner_as_customer += manner
            self.caller_as_customer += caller
        wrong = self._wrong()
        if wrong:
            self.settled, self.turned = True, "detected"
        elif self.finals >= WINDOW or self.operator_as_agent >= ALONE:
            self.settled = True
        return wrong

    def _wrong(self) -> bool:
        if self.operator_as_agent:
            return False
        complains = self.caller_as_agent > 0 and self.caller_as_customer == 0
        if self.operator_as_customer >= ALONE or (self.operator_as_customer and complains):
            return True
        return self.manner_as_agent == 0 and self.manner_as_customer >= MANNERS - complains
