"""The procedure for ending a call: `caution` → `first_warning` → `final_warning` → `may_end`.

A step counts only when the operator's own words gave it. The words are recognised by the classifier's cues where it
was asked, and by the patterns here in any case; where both find a step the later one counts, and a second warning is the
final one however it is put. The patterns are loose on purpose: they are made of what is spoken about, what is asked or
refused, and what would follow. What keeps a friendly good-bye out is the order of the steps, not the words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from detector.labels import STEPS

CUE_SCORE: Final = 0.6
"""Score from which a cue of the classifier counts; below it the patterns alone decide."""

_ABOUT_JA: Final = (
    r"(言葉|発言|おっしゃ|お話|話し方|声|言い方|言葉遣い|皮肉|質問|ご要求|公開|投稿|拡散|録音の|態度|名を出|名指し|個人|家族|"
    r"従業員|担当者|職員|スタッフ|差別|国籍|威圧|暴言|そのようなこと|そういったこと|今のよう)"
)
_ASKS_JA: Final = (
    r"(控え|おやめ|やめ(て|いただ)|止めて(いただ|くださ)|ご遠慮|遠慮(いただ|願)|抑え|慎(ん|み)|気をつけ|穏やか|落ち着|荒らげず|荒げず|"
    r"冷静|お静かに|困ります)"
)
_REFUSES_JA: Final = (
    r"(お受け(は)?(でき|いたしかね|しかね)|受けかね|お答え(は)?(でき|いたしかね|しかね)|お話し?(は)?でき|お断り(いた)?し|見過ごせ|"
    r"進められませ|ここまで(に|と)|応じ(かね|られ))"
)
_GOES_ON_JA: Final = (
    r"((?<!手)続[かきくけい]|続けられ|繰り返さ|繰り返(す|し)|改まら|改めて(いただけな|いただけませ)|おやめいただけな|やめていただけな|"
    r"これ以上.{0,14}(お話|発言|言葉|対応|応対|お電話|通話|公開|続)|このまま.{0,20}(発言|言葉|お話|続|状況)|今後(も)?同じ|"
    r"危害.{0,12}(お話|ご発言)ですと|再び|再度.{0,12}(発言|言葉))"
)
_ENDS_JA: Final = (
    r"(切らせ|切ら(ざる|なけれ)|お切り|切ります|終了|終わら|終わり|終え|打ち切|(対応|応対|説明|ご案内|お話|お電話)(を|は|も)?.{0,12}"
    r"(できかね|いたしかね|できな|続けられ|難しく|お断り|控えさせ|出来かね|ここまで)|お断りする|お断りさせ|取りやめ|責任者に代わ|"
    r"警察|弁護士|法的|会社(から|として).{0,8}(対応|対処|お断り))"
)
_PATTERNS: Final[Mapping[str, Mapping[str, re.Pattern[str]]]] = {
    "ja": {
        "caution": re.compile(
            rf"{_ABOUT_JA}.{{0,30}}{_ASKS_JA}|(個人|関係のない|用件以外|用件と関係|そのよう|そういった|同じ(お答え|お話|回答)|"
            rf"担当者|従業員|職員).{{0,30}}{_REFUSES_JA}|"
            r"(落ち着いて|冷静に|穏やかに|お静かに)(、)?(お話|いただ|くださ|お願い)|お答えは同じ.{0,20}ここまで|"
            r"そのようにおっしゃ.{0,20}(困|進められ|対応)"
        ),
        "first_warning": re.compile(rf"{_GOES_ON_JA}.{{0,60}}{_ENDS_JA}"),
        "final_warning": re.compile(
            rf"(最後(の|に|と|通告)|これ(で|が)最後|最終|再三|何度もお願い|先ほど(も|から)(申し上げ|お伝え|お願い)|次に|次は|もう一度(でも)?|"
            rf"既に一度|改めて申し上げ|二度目|二度と).{{0,60}}({_ENDS_JA}|警告|控え)|これ(で|が)最後(に|と|の)|"
            r"警察(に|へ)(は)?(ご)?(通報|相談|連絡|届け)(いた)?(し)?ます"
        ),
        "may_end": re.compile(
            r"(電話|通話|対応|応対|お話)(を|は|も)?.{0,10}(切らせて(いただ|頂)|終了(いたし|させて|し)(ます|て|い)|終わらせて|終えさせて|"
            r"終えます|お切りし|打ち切らせて)|(切らせて|終わらせて|終了させて)(いただき|頂き)ます|"
            r"(これ|ここ|本日).{0,6}(で|は)失礼(いた)?します|失礼(いた)?します。?$|失礼(いた)?します。.{0,24}(書面|終了|切)|"
            r"(通話|電話|対応)は(これ|ここ)(で|まで)(に|と)?(終|さ|いた)|(これ|ここ)で終わらせて(いただ|頂)"
        ),
    },
    "en": {
        "caution": re.compile(
            r"\b(please|ask(ing)? (you|that)|need you|kindly|would you|appreciate it if|can (you|we)|could (you|we)|let'?s|i('d| would) "
            r"(like|appreciate|prefer|rather)|i('m| am) not (going|willing|able|prepared|here) to|i (won'?t|don'?t|can'?t|cannot|will "
            r"not|do not)|no need (to|for)|there'?s no)\b.{0,60}\b((?<!own )language|tone|voice|shout(ed|ing)?|yell(ed|ing)?|scream(ed|ing)?|"
            r"swear(ing)?|sworn|curs(e|ed|ing)|insult(s|ed|ing)?|remarks?|comments?|calm(ly)?( down)?|respect(ful)?|civil|polite(ly)?|"
            r"(speak|speaking|spoken|talk|talking|talked) to (me|us|anyone|people)|that way|like that|name.calling|threat(s|en|ening|ened)?|"
            r"abus(e|ed|ive)|rude|personal (questions?|things?|matters?)|that word|anything personal|discuss that)\b|"
            r"\b(that|this|your|such|what you said|those)( (kind|sort) of)? ?(language|tone|comments?|remarks?|words?|question)?\b.{0,30}"
            r"\b(is|are|was|were|isn't|aren't) ?(not|n't)?.{0,10}\b(acceptable|appropriate|okay|ok|called for|unacceptable|"
            r"inappropriate|offensive|hurtful)\b|\bask(ing)? you not to\b|\b(don't|won't|not|never) (you )?(to )?(dare )?call(ing)? me\b|"
            r"\bnot an? (appropriate|acceptable)\b|\b(let's|please) keep (it|this|things) (about|to|civil|polite|respectful)\b|"
            r"\bnot having that\b|\bdon't discuss (myself|my)\b",
            re.IGNORECASE,
        ),
        "first_warning": re.compile(
            r"\b(if|should|unless|continu\w+|keeps?|another|any (more|further)|carr(y|ies) on|goes on|persists?\w*|again|otherwise|"
            r"or (else )?(i|we)('ll| will)?)\b.{0,100}"
            r"\b(end(ing)? (the|this|our|things)|terminat\w+|disconnect\w*|hang(ing)? up|drop(ping)? (the|this) call|"
            r"(close|finish|cut|stop|leave)(ing)? (off )?(the|this|our) (call|conversation)|(have|need|forced|going|able) to (end|stop)|"
            r"(not|won't|unable|can't|cannot) (be able to |to )?(continue|help|go on|carry on|stay on)|(i|we)\b.{0,20} (call|speak to) the police|"
            r"involve the police|report(ed)? (this|you|it)|that('s| is) the end of (this|the) (call|conversation))\b|"
            r"\b(end|terminate|disconnect|hang up on)( the| this)?( call)?\b.{0,50}\b(if|unless|should)\b|"
            r"\b(i('m| am)|we('re| are)) warning you\b|\b(that's|this is|consider (this|that)|i('m| am) giving you) (a|your|the)( first)? warning\b",
            re.IGNORECASE,
        ),
        "final_warning": re.compile(
            r"\b(final|last|second|third) (warning|time|chance|notice|request)\b|\b(already|previously) (warned|asked|told) you\b.{0,80}"
            r"\b(end|terminat\w+|disconnect\w*|hang(ing)? up)\b|\b(one more|once more|next (time|one|word|remark))\b.{0,80}"
            r"\b(end|over|finished|terminat\w+|disconnect\w*|hang(ing)? up)\b|\b(won't|will not|not going to) (warn|ask|tell|say (it|this) to) "
            r"(you )?again\b|\bno more warnings\b|\bi('ve| have) (asked|warned|told) you (once|twice|before|already)\b.{0,90}"
            r"\b(end|over|terminat\w+|disconnect\w*|hang(ing)? up)\b|\b(we|i)('re| are|'m| am|'ll| will) (be )?(calling|contacting|informing|"
            r"call|contact|inform) the police\b",
            re.IGNORECASE,
        ),
        "may_end": re.compile(
            r"\b(i('m| am)|i('ll| will)|we('re| are)|i have to|i must|i need to|therefore|so|now)\b.{0,40}\b(now )?"
            r"(hanging up|hang up|(end(ing)?|terminat\w+|disconnect(ing)?|clos(e|ing)) ((this|the|our) )?(call|conversation|line|it here|"
            r"things|here|now|you)|disconnect(ing)?)\b|"
            r"\b(this|the|our) (call|conversation) (is|has) (now )?(over|ended|finished|being (ended|terminated|disconnected))\b|"
            r"\b(that's|that is) the end of (this|the|our) (call|conversation)\b|\bgoodbye\b|\bputting (down the phone|the phone down)\b",
            re.IGNORECASE,
        ),
    },
}
_CONDITIONAL: Final = {
    "ja": re.compile(
        r"(場合|なら|ようでし|ようであ|のでし|れば|たら|際は|限り|なければ|ことがあ|こともあ|ございます。?$|可能性|(?<!手)続(きますと|くと|けば|けると|けられると)|"
        r"ますと|ですと)"
    ),
    "en": re.compile(
        r"\b(if|unless|should you|otherwise|or (else )?(i|we)('ll| will)|next (time|word)|one more|may have to|might have to|"
        r"any (more|further)|another|(carry|go|keep) (on|going|it up).{0,40}and|continue.{0,40}and)\b",
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
    heard = best if cues.get(best, 0.0) >= CUE_SCORE else ""
    read = _read(text, language)
    return max(heard, read, key=lambda step: STEPS.index(step) if step else -1)


def _read(text: str, language: str) -> str:
    """What the words alone do."""
    patterns = _PATTERNS.get(language, _PATTERNS["en"])
    conditional = _CONDITIONAL.get(language, _CONDITIONAL["en"]).search(text) is not None
    if patterns["may_end"].search(text) and not conditional:
        return "may_end"
    return next((step for step in ("final_warning", "first_warning", "caution") if patterns[step].search(text)), "")


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
