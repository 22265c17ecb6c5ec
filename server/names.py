"""What codes are called in Japanese and English, wherever people read them: messages, reports, pages."""

from __future__ import annotations

from typing import Final

_NAMES: Final[dict[str, tuple[str, str]]] = {
    "none": ("平常", "calm"),
    "notice": ("注意", "notice"),
    "warning": ("警告", "warning"),
    "escalate": ("交代", "escalate"),
    "critical": ("緊急", "critical"),
    "abuse": ("暴言・脅し等", "abuse"),
    "repetition": ("堂々巡り", "going in circles"),
    "overlong": ("長時間", "overlong"),
    "distress": ("支援要請", "support needed"),
    "verbal_abuse": ("暴言", "verbal abuse"),
    "threat": ("脅迫", "threat"),
    "exposure": ("晒し", "exposure"),
    "excessive_demand": ("過大な要求", "excessive demand"),
    "authority": ("権威", "authority"),
    "discrimination": ("差別", "discrimination"),
    "sexual": ("性的言動", "sexual"),
    "intrusion": ("個人攻撃", "intrusion"),
    "help": ("助けを求めています", "asks for help"),
    "caller_at_risk": ("発信者の安全", "caller at risk"),
    "apology_loop": ("謝罪の繰り返し", "apology loop"),
    "silence_after_abuse": ("沈黙", "silence after abuse"),
    "open": ("未対応", "open"),
    "acknowledged": ("対応中", "acknowledged"),
    "snoozed": ("一時停止", "snoozed"),
    "resolved": ("解決", "resolved"),
    "retracted": ("取り消し", "retracted"),
    "expired": ("期限切れ", "expired"),
    "harassment": ("カスハラ", "harassment"),
    "complaint": ("正当な苦情", "fair complaint"),
    "false_alarm": ("誤検知", "false alarm"),
    "alert.raised": ("検知", "raised"),
    "alert.updated": ("更新", "updated"),
    "alert.unattended": ("未対応のため引き継ぎ", "unattended, passed on"),
    "alert.acknowledged": ("対応中", "acknowledged"),
    "alert.assigned": ("担当変更", "assigned"),
    "alert.snoozed": ("一時停止", "snoozed"),
    "alert.resolved": ("解決", "resolved"),
    "alert.retracted": ("取り消し", "retracted"),
    "alert.expired": ("期限切れ", "expired"),
    "caution": ("お願い", "caution"),
    "first_warning": ("一次警告", "first warning"),
    "final_warning": ("最終警告", "final warning"),
    "may_end": ("終話可", "may end"),
    "customer": ("お客様", "customer"),
    "agent": ("オペレーター", "operator"),
    "unknown": ("不明", "unknown"),
    "ok": ("監視中", "monitored"),
    "incomplete": ("欠落あり", "incomplete"),
    "degraded": ("一部未採点", "partly unscored"),
    "lost": ("監視できていません", "not monitored"),
    "unsupported_language": ("対応外の言語", "language not supported"),
}


def name_of(code: str, language: str) -> str:
    """What a code is called in `ja` or `en`; an unknown one stays as it is."""
    found = _NAMES.get(code)
    return code if found is None else found[0 if language == "ja" else 1]
