"""How grave is an utterance that the classifier already labelled? Life and body, an announced crime, stalking.

Consulted only for utterances that carry `threat` or `intrusion`; the words alone never make an alert.
"""

from __future__ import annotations

import re
from typing import Final

_LIFE_OR_BODY: Final = {
    "ja": re.compile(
        r"殺(す|し|せ|さ|っ)|ころ(す|し)(ぞ|て|に)|ぶっころ|死(ね|なす|んでもら|にたい(の|ん)か|体)|命(が|は|を|の保証)|刺(す|し|さ)|"
        r"包丁|ナイフ|刃物|殴|ぶん殴|しばく|しばき|半殺|首(を)?(絞|締|しめ)|埋め(る|て|た)|沈め(る|て)|痛い目|"
        r"ぼこぼこ|ボコボコ|骨(を|の)?折|血を見|怪我(する|させ)|けが(する|させ)|轢|撃(つ|ち)|銃|いてまう|いてこま|"
        r"くらす(ぞ|け)|生きて(帰|い)|無事(で|に)|夜道|背後に|後ろに気|五体満足"
    ),
    "en": re.compile(
        r"\b(kill(ing)?|murder|shoot|shot|gun|stab|knife|knives|beat (you|the|your|him|her)|beating|break (your|his|her)|"
        r"hurt (you|him|her|them|some)|strangle|choke you|throttle|bury you|dead|die|blood|hospital bed|body bag|"
        r"smash your|punch|slit|run you over|watch your back|end (you|your life)|in the ground|wring your)\b",
        re.IGNORECASE,
    ),
}
_CRIME: Final = {
    "ja": re.compile(
        r"火(を)?(つけ|付け|点け|放)|放火|燃や(す|し|せ)|爆(破|弾)|ガソリン|灯油|ぶっ壊し|突っ込(む|ん)|襲(う|い|撃)|"
        r"乗り込|殴り込|カチコミ|毒(を|入|盛)|拉致|さら(う|い)|誘拐"
    ),
    "en": re.compile(
        r"\b(burn(ing)? (it|the|your|that|this|down)|set (it |the |your )?.{0,16}on fire|torch|arson|bomb|blow (up|it|the|"
        r"your)|petrol|gasoline|drive (my|a|the) (car|truck|van).{0,12}(into|through)|kidnap|poison(ing)? )\b",
        re.IGNORECASE,
    ),
}
_STALKING: Final = {
    "ja": re.compile(
        r"待ち伏せ|待って(る|い)|出待ち|後(を)?(つけ|付け|尾行)|尾行|つけ(て|回|まわ)|見張|張り込|家(を|は|も)?(知|調べ|突き止|特定)|"
        r"住所(を|は|も)?(知|調べ|突き止|特定)|何時(に)?(上が|終わ|帰)|帰り道|探し出|見つけ出"
    ),
    "en": re.compile(
        r"\b(follow(ing)? you|wait(ing)? (for you|outside)|outside your|where you (live|park|work)|your (house|home|address|"
        r"street|commute)|find (out )?where you|track you|come (find|looking for) you|see you after|when you (get off|"
        r"finish|leave))\b",
        re.IGNORECASE,
    ),
}

_SELF_HARM: Final = {
    "ja": re.compile(
        r"(死に|消え|いなくなり)たい(です|んです|って思|と思|よ|な|。|$)|自殺(し|を考え)|生きて(い)?たくない|もう生きて(い)?け"
    ),
    "en": re.compile(
        r"\b(kill|hurt|harm)(ing)? myself\b|\bend(ing)? (my|it) (own )?(life|all)\b|\b(want|rather|going) to die\b|"
        r"\bsuicid(e|al)\b|\bdon'?t want to (live|be here|wake up)\b|\bno (reason|point) (to|in) liv(e|ing)\b",
        re.IGNORECASE,
    ),
}


def speaks_of_self_harm(text: str, language: str) -> bool:
    """Whether the plain words of self-harm are there: stands in for the classifier where no score came."""
    return _SELF_HARM.get(language, _SELF_HARM["en"]).search(text) is not None


def sounds_grave(text: str, language: str) -> bool:
    """Whether a text has words of life and body, crime or stalking: worth a look by the classifier, nothing more."""
    return endangers_life(text, language) or announces_crime(text, language) or is_stalking(text, language)


def endangers_life(text: str, language: str) -> bool:
    """Whether a threat is to life or body."""
    return _LIFE_OR_BODY.get(language, _LIFE_OR_BODY["en"]).search(text) is not None


def announces_crime(text: str, language: str) -> bool:
    """Whether a threat announces a crime: arson, a bomb, an assault on the premises."""
    return _CRIME.get(language, _CRIME["en"]).search(text) is not None


def is_stalking(text: str, language: str) -> bool:
    """Whether an intrusion follows the operator's private person about."""
    return _STALKING.get(language, _STALKING["en"]).search(text) is not None
