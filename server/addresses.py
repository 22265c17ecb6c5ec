"""Finds postal addresses by their form, Japanese and English: a place and the number of a house.

A place alone (「横浜市」) is no address, and names of buildings or people have no form that a rule could know.
"""

from __future__ import annotations

import re
from typing import Final

from server.digits import fold_digits

ADDRESS: Final = "〈住所〉"

_N: Final = r"(?:\d{1,5}|[一二三四五六七八九十百〇]{1,4})"
_DASH: Final = r"[-‐−–ー]"
_KANJI: Final = r"[一-鿿々ヶケ]"
_KANA_PLACES: Final = "さいたま|つくば|いわき|あわら|みやま|むつ|ひたちなか|うるま|えびの|つがる|にかほ|みどり|あきる野|ふじみ野|かほく|いなべ|たつの|みよし|さくら"
_UNITS_BEHIND: Final = "日回時分人円年月個件度割週名枚台本歳才倍点万千%パかヶカ"
_HOUSE: Final = (
    rf"(?:{_N}丁目(?:の?{_N}(?:番地?|{_DASH}|の)?(?:の?{_N}号?)?)?"
    rf"|{_N}番地(?:の?{_N}号?)?|{_N}番(?:の)?{_N}号?"
    rf"|\d{{1,5}}(?:(?:{_DASH}|の)\d{{1,5}}){{1,3}}(?![\d{_UNITS_BEHIND}]))"
)
_SPOKEN: Final = rf"{_N}の{_N}の{_N}(?![{_UNITS_BEHIND}])"
_POSTCODE: Final = rf"〒\s?\d{{3}}{_DASH}?\d{{4}}"
_PREFECTURE: Final = rf"(?:東京都|北海道|京都府|大阪府|{_KANJI}{{2,3}}県)"
_PLACE: Final = rf"(?:{_PREFECTURE}[\s、]?)?(?:(?:{_KANJI}{{1,6}}?|{_KANA_PLACES})[市区町村郡][\s、]?){{1,3}}"
_ROOM: Final = r"(?:[\s、]?[一-鿿ァ-ヴーA-Za-z]{0,14}[\s]?\d{1,4}号室)?"
_JAPANESE: Final = re.compile(
    rf"(?:{_POSTCODE}[\s、]*)?"
    rf"(?:{_PLACE}[一-鿿々ぁ-んァ-ヶー]{{0,12}}?[\s、]?(?:{_HOUSE}|{_SPOKEN})|{_KANJI}{{0,8}}?{_N}丁目{_N}(?:番地?|{_DASH}|の){_N}号?){_ROOM}"
    rf"|{_POSTCODE}"
)

_NUMBER_WORDS: Final = (
    "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen|"
    "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred"
)
_NO_NAME: Final = (
    r"(?!(?:the|a|an|in|on|of|at|to|for|and|or|my|your|this|that|minutes?|hours?|days?|weeks?|months?|years?|times?|people|"
    r"guys|down|up|across|from|down|along|miles?|blocks?|is|was|are|more|dollars?|percent)\b)"
)
_ENGLISH: Final = re.compile(
    rf"\b(?:\d{{1,5}}[A-Za-z]?|(?:{_NUMBER_WORDS})(?:[\s-](?:{_NUMBER_WORDS})){{0,3}})\s+"
    rf"(?:{_NO_NAME}[A-Za-z0-9'.]{{1,20}}\s+){{1,3}}?"
    r"(?:(?i:street|avenue|road|boulevard|lane|blvd|crescent|terrace|parkway|highway)\b"
    r"|(?:St|Ave|Rd|Ln|Dr|Drive|Ct|Court|Pl|Place|Way|Close|Square|Sq|Pkwy|Hwy)\b\.?)"
    r"(?:,?\s*(?i:apt|apartment|suite|unit|flat|#)\.?\s*[A-Za-z0-9]{1,6}\b)?"
    r"(?:,\s*[A-Z][A-Za-z]{1,20}(?:\s[A-Z][a-z]{1,20}){0,2})?(?:,?\s+[A-Z]{2}\s+\d{5}(?:-\d{4})?)?"
    r"|\b(?i:p\.?\s?o\.?\s+box)\s+\d{1,6}\b"
    r"|\b[A-Z]{1,2}\d[A-Z\d]?\s\d[A-Z]{2}\b"
    r"|\b[A-Z]{2}\s+\d{5}-\d{4}\b"
)
_MAY_BE_JAPANESE: Final = re.compile(r"[市区町村郡〒]|丁目")


def mask_addresses(text: str, language: str) -> str:
    """Puts a placeholder in the place of every postal address."""
    if language == "ja":
        if not _MAY_BE_JAPANESE.search(text):
            return text
        pattern, folded = _JAPANESE, fold_digits(text)
    else:
        pattern, folded = _ENGLISH, text
    parts, at = [], 0
    for match in pattern.finditer(folded):
        parts += [text[at : match.start()], ADDRESS]
        at = match.end()
    return "".join([*parts, text[at:]])
