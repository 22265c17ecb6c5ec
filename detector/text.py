"""Plain facts about a piece of talk that need no model: is it a backchannel, a question, an announced hold?

Works on the words alone, per language, and deliberately judges nobody: what counts as abuse is the classifier's
business.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_FILLERS_JA: Final = re.compile(r"(えーっと|えーと|えっと|えー|あのー|あの、|そのー|うーん|んー|まあ、|ええと)[、,\s]*")
_FILLERS_EN: Final = re.compile(r"\b(uh+|um+|er+m?|hmm+|you know|i mean|like,)\b[,\s]*", re.IGNORECASE)
_SPACE: Final = re.compile(r"\s+")
_PUNCTUATION: Final = re.compile(r"[、。,.!?！？…・「」『』\"'“”‘’\-—~〜ー]+")

_BACKCHANNEL: Final = {
    "ja": re.compile(
        r"(はい|ええ|うん|ああ|あー|へえ|ほう|そう|そうです(か|ね)?|そうなんです(か|ね)?|なるほど(ですね)?|"
        r"わかりました|分かりました|かしこまりました|承知(いた)?しました|はあ|いえ|いや|どうも|すみません|"
        r"すいません|恐れ入ります|申し訳ございません|失礼(いた)?します|お願い(いた)?します|ね|よ)*"
    ),
    "en": re.compile(
        r"(yes|yeah|yep|ok(ay)?|huh|mm hmm|mhm|right|sure|i see|i understand|no|oh|alright|all right|thanks?( you)?|"
        r"sorry|got it|of course|hello|hi|ma'?am|sir|go on|go ahead|please|um+|uh+|hmm+| )*",
        re.IGNORECASE,
    ),
}
_QUESTION: Final = {
    "ja": re.compile(
        r"([?？]\s*|(でしょう|ます|です|ません|ました|でした|よろしい|いかが|いただけます|だっけ|の)か[。、\s]*)$"
    ),
    "en": re.compile(
        r"\?\s*$|^(what|which|when|where|who|how|could you|can you|may i|would you|do you|did you|is it|are you)\b",
        re.IGNORECASE,
    ),
}
_ASKS_TO_TELL: Final = {
    "ja": re.compile(
        r"(お?聞かせ|お?教え|お伺い|お話し|ご説明|おっしゃって|仰って|もう一度)(いただ|頂|くださ|願|し(て|ます))|"
        r"(どのよう|どう(いった|いう)|いつ|どちら|どこ|何|なぜ|どなた|いくら)[^。]{0,24}(か|でしょう)[。？?、\s]*$"
    ),
    "en": re.compile(
        r"\b(tell me|explain|describe|repeat|say (that|it) again|give me (your|the)|spell|talk me through|walk me through)\b|"
        r"\b(what|which|when|where|who|why|how)('s|'re|'d| is| are| was| were| did| do| does| can| could| would| many| much| long| old)?\b"
        r"[^.?!]{0,60}\?\s*$",
        re.IGNORECASE,
    ),
}
_HOLD: Final = {
    "ja": re.compile(
        r"(少々|少し|しばらく|そのまま|ちょっと|今しばらく)(の間)?お待ち|お待ち(ください|くださいませ|いただけ|願え|頂け)|"
        r"保留(に|と)(させて|いたし|し)|確認(して|いたして)(まいり|参り)ます"
    ),
    "en": re.compile(
        r"\b(please hold|hold (the line|on|for|please)|one moment|bear with me|put(ting)? you on( a)?( brief)? hold|"
        r"just a (moment|minute|second|sec)|give me a (moment|minute|second|sec))\b",
        re.IGNORECASE,
    ),
}
_APOLOGY: Final = {
    "ja": re.compile(
        r"申し訳(ございません|ありません|ございませんでした|なく|ないです)|申しわけ|お詫び|すみません|すいません|"
        r"ご迷惑を(おかけ|お掛け)|失礼(いた)?しました|謝罪(いた)?し"
    ),
    "en": re.compile(r"\b(sorry|apologi[sz]e|apolog(y|ies)|forgive (me|us)|regret (the|this|that))\b", re.IGNORECASE),
}
_AGENT_WORDS: Final = {
    "ja": re.compile(
        r"お電話(いただき)?ありがとうございます|でございます(。|$)|(センター|窓口|サポート|受付|係|課|相談室|ペンション|クリニック)(です|が承ります)。?$|"
        r"お(教え|聞かせ)(ください|いただけますか|いただけますでしょうか)|お待ちいただけますか|(担当|オペレーター)の.{1,8}(です|と申し)|"
        r"お調べ(いた)?し(ます|まし)|確認(いた)?します(ので|。|$)|ご契約者様|お客様(の|に|番号|情報)|承り(ます|まし)|"
        r"いたしかねます|対応(いた)?しかね|ご本人様"
    ),
    "en": re.compile(
        r"thank(s| you) for (calling|contacting)|how (can|may) i (help|assist) you|my name is \w+(,| and)? (how|i'll)|"
        r"let me (check|look|pull)|i('ll| will) (look into|check) (that|this) for you|your account (number|details) please|"
        r"is there anything else|verify your|date of birth",
        re.IGNORECASE,
    ),
}
_AGAIN: Final = {
    "ja": re.compile(
        r"何度も?(同じ|言わせ|言って|説明|聞|も)|何回(も)?(言|説明|同じ|聞)|さっき(から|も|言)|先ほどから|同じこと(を|ばっか|ばかり)|"
        r"もう一(度|回)言|繰り返し(ます|にな)|だから(さ|ね|よ)?[、,]?言って|ずっと言って|前にも言|最初から言って"
    ),
    "en": re.compile(
        r"\b(like i said|as i said|i('ve| have)? (already|just) (told|said|explained)|again and again|how many times|"
        r"keep (telling|saying|asking)|same (thing|answer|question)|over and over|back to (my|the))\b",
        re.IGNORECASE,
    ),
}

_ACCEPTS: Final = {
    "ja": re.compile(
        r"(?:(?:あ+|まあ|じゃあ?|では|はい|ええ|うん|そう(?:ですか|か)?)[、。 ]*)*"
        r"(?:(?:わか|分か)(?:りました|った)|承知|了解|かしこま|それで(?:お願い|いい|結構|大丈夫)|助かり|ありがとう)"
    ),
    "en": re.compile(
        r"(?:(?:oh|well|um|yeah|yes|okay|ok|alright|all right|right)[,. ]+)*"
        r"(?:thanks|thank you|(?:that|it)'s fine|that works|fair enough|great|perfect|brilliant|lovely|sounds good)\b",
        re.IGNORECASE,
    ),
}
_INSISTS: Final = {
    "ja": re.compile(
        r"だから|じゃなくて|(って|と)言って(る|い|ん)|納得(いか|でき|し)|何度でも|何時間でも|なんか(意味|いら|どうでも)|"
        r"じゃ(止ま|直ら|足り|困|だめ|駄目|意味|話に)|いいから|それでも|でも(さ|ね|、|$)|とにかく|結局|聞いて(る|い|ます|ん)|"
        r"(切り|切ら|引き下がり|諦め|あきらめ)ません|そうじゃな|関係な"
    ),
    "en": re.compile(
        r"\bi said\b|\bi('m| am) not (having|accepting|asking|hanging|leaving|interested)\b|\b(no|look),? (listen|but)\b|"
        r"\b(does|did|do)(n't| not)? (nothing|help|matter|change|make)\b|\bwon't (stop|help|fix|do|cut|change)\b|"
        r"\bjust (give|refund|move|put|send|fix|change|do|pay|cancel)\b|\bi don'?t (want|care|need|accept)\b|\bnot good enough\b|"
        r"\b(that|this)('s| is)? (not|isn't|doesn't)\b.{0,24}\b(point|asked|answer|change|help|fix)|\bthe fact (is|remains)\b|"
        r"\beither way\b|\bregardless\b",
        re.IGNORECASE,
    ),
}
_OTHER_MATTER: Final = {
    "ja": re.compile(
        r"^(あの、?)?(あと|それと|あともう|もう一つ|もうひとつ|ついでに|別の|別件|ほかに|他に)|別件|別の(話|件)|もう(一つ|ひとつ)"
    ),
    "en": re.compile(
        r"^\W*(and |oh,? |right,? )?(also|another (thing|matter|question)|one more thing|while i('m| am) (on|here)|separately)\b|"
        r"\banother (thing|matter)\b|\bsomething else\b|\bunrelated\b",
        re.IGNORECASE,
    ),
}
_REFUSES: Final = {
    "ja": re.compile(
        r"(いたし|でき|応じ|承り|お受けし|出し|認め|返し|致し)かね|でき(ません|ない)|対象外|ございません|変わりません|変えることが|"
        r"決まり|規約|規定|契約|なりません|難しい|承れません|お答えは|同じ"
    ),
    "en": re.compile(
        r"\b(can't|cannot|can not|not able|unable|won't|couldn't|wouldn't|don't (have|allow|offer)|"
        r"isn't (something|possible|eligible|covered)|not (eligible|possible|covered|refundable)|doesn't (change|cover|apply)|policy|"
        r"terms|contract|agreement|final|no way|stands|afraid|only thing|as far as|the same)\b",
        re.IGNORECASE,
    ),
}
_TAKES_OVER: Final = {
    "ja": re.compile(r"お?電話(を)?(代わ|替わ|変わ|かわ)り(まし|いたしまし)た|引き継ぎました|代わりまして"),
    "en": re.compile(
        r"\byou('re| are) (now )?through to\b|\bi('m| am) taking over\b|\bmy colleague (has )?(passed|transferred|put) you\b",
        re.IGNORECASE,
    ),
}
_OPERATORS_SENTENCE: Final = {
    "ja": re.compile(
        r"(お電話|お問い?合わ?せ)(を)?(いただき|頂き)?(まして)?、?(誠に)?ありがとうございます|"
        r".{1,24}(でございます|と申します)|(お調べ|確認|ご案内|お伺い)(いた)?しますので、?(少々|しばらく)お待ち(ください|くださいませ)|"
        r"(少々|しばらく)お待ち(ください|くださいませ)|(誠に|大変)?申し訳ございません(でした)?|かしこまりました|承知いたしました"
    ),
    "en": re.compile(
        r"(good (morning|afternoon|evening),? )?thank(s| you) for (calling|contacting|holding).{0,40}|"
        r"(this is|you're through to) .{1,30}(,| speaking| how (can|may) i help( you)?( today)?)+|"
        r"how (can|may) i (help|assist)( you)?( today)?|(please hold|bear with me|one moment)( for a (moment|second))?( please)?|"
        r"let me (check|look into|pull) (that|it|this)( up)?( for you)?",
        re.IGNORECASE,
    ),
}


def squeeze(text: str, language: str) -> str:
    """Folds what does not matter to a comparison: width, case, fillers, spaces and punctuation.

    Args:
        text: any text.
        language: `ja` or `en`; another is treated as `en`.

    Returns:
        The folded text, possibly empty. Its offsets are not those of `text`.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    folded = (_FILLERS_JA if language == "ja" else _FILLERS_EN).sub("", folded)
    folded = _PUNCTUATION.sub("" if language == "ja" else " ", folded)
    return _SPACE.sub("" if language == "ja" else " ", folded).strip()


def _pattern(table: dict[str, re.Pattern[str]], language: str) -> re.Pattern[str]:
    return table.get(language, table["en"])


def is_backchannel(text: str, language: str) -> bool:
    """Whether the text only keeps the talk going (「はい、ええ」, "uh huh, okay") and says nothing of its own."""
    return _pattern(_BACKCHANNEL, language).fullmatch(squeeze(text, language)) is not None


def is_question(text: str, language: str) -> bool:
    """Whether the text asks something."""
    return _pattern(_QUESTION, language).search(text.strip()) is not None


def asks_to_tell(text: str, language: str) -> bool:
    """Whether the text asks for something to be told (「理由をお聞かせください」, "what happened?"), not for a yes or no."""
    return _pattern(_ASKS_TO_TELL, language).search(text.strip()) is not None


def announces_hold(text: str, language: str) -> bool:
    """Whether an operator's text asks the caller to wait."""
    return _pattern(_HOLD, language).search(text) is not None


def apologises(text: str, language: str) -> bool:
    """Whether the text apologises."""
    return _pattern(_APOLOGY, language).search(text) is not None


def speaks_like_an_agent(text: str, language: str) -> bool:
    """Whether only an operator would say this (「お電話ありがとうございます」, "how may I help you")."""
    return _pattern(_AGENT_WORDS, language).search(text) is not None


def takes_over(text: str, language: str) -> bool:
    """Whether an operator says that the call was passed on to them (「お電話代わりました」)."""
    return _pattern(_TAKES_OVER, language).search(text) is not None


def is_operators_sentence(text: str, language: str) -> bool:
    """Whether a whole sentence is one that operators say and callers do not: stricter than `speaks_like_an_agent`."""
    bare = text.strip().rstrip("。.!！?？ 　")
    return _pattern(_OPERATORS_SENTENCE, language).fullmatch(bare) is not None


def insists(text: str, language: str) -> bool:
    """Whether the speaker stands by what was said against an answer (「だから」, 「じゃなくて」, "I don't want")."""
    return _pattern(_INSISTS, language).search(text) is not None


def accepts(text: str, language: str) -> bool:
    """Whether the speaker begins by taking what was answered (「わかりました」, "that's fine")."""
    return _pattern(_ACCEPTS, language).match(text.strip()) is not None


def refuses(text: str, language: str) -> bool:
    """Whether an operator's answer refuses something or holds to a rule (「いたしかねます」, "I'm not able to")."""
    return _pattern(_REFUSES, language).search(text) is not None


def changes_subject(text: str, language: str) -> bool:
    """Whether the speaker announces another matter (「あともう一つ」, "another thing")."""
    return _pattern(_OTHER_MATTER, language).search(text.strip()) is not None


def says_again(text: str, language: str) -> bool:
    """Whether the speaker says that they are saying it again."""
    return _pattern(_AGAIN, language).search(text) is not None


def substance(text: str, language: str) -> int:
    """How much the text says, in words of about one idea: characters / 2.5 in Japanese, words elsewhere.

    The divisor is the mean length of a Japanese content word with its particle, so that one threshold serves both.
    """
    folded = squeeze(text, language)
    return round(len(folded) / 2.5) if language == "ja" else len(folded.split())


def mostly_digits(text: str) -> bool:
    """Whether the text reads out a number, a date or a placeholder rather than saying something."""
    folded = unicodedata.normalize("NFKC", text)
    letters = [char for char in folded if char.isalnum()]
    masked = folded.count("〈")
    digits = sum(char.isdigit() or char in "〇一二三四五六七八九十の" for char in letters)
    return bool(letters) and (digits * 2 > len(letters) or masked * 12 > len(letters) + 1)
