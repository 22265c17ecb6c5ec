from __future__ import annotations

import logging

import pytest

from detector.events import CallEvent, CallStarted
from server.redaction import hash_caller, is_card, is_my_number, redact
from tests.server.running import platform, said, serving, started


@pytest.mark.parametrize(
    ("text", "language", "masked"),
    [
        ("電話は090-1234-5678です", "ja", "電話は〈電話番号〉です"),
        ("０３（１２３４）５６７８まで", "ja", "〈電話番号〉まで"),
        ("ゼロ九ゼロ一二三四五六七八", "ja", "〈電話番号〉"),
        ("カードは4111 1111 1111 1111", "ja", "カードは〈カード番号〉"),
        ("マイナンバーは1234 5678 9018", "ja", "マイナンバーは〈マイナンバー〉"),
        ("taro＠example.co.jp です", "ja", "〈メール〉 です"),
        ("call 212-555-0123 please", "en", "call 〈電話番号〉 please"),
        ("it's two one two five five five oh one two three", "en", "it's 〈電話番号〉"),
        ("注文番号は1234567です", "ja", "注文番号は1234567です"),
        ("三回も五回も電話した", "ja", "三回も五回も電話した"),
        ("2026年11月24日の午後3時", "ja", "2026年11月24日の午後3時"),
    ],
)
def test_what_is_masked_and_what_is_not(text, language, masked):
    assert redact(text, language) == masked


def test_check_digits():
    assert is_card("4111111111111111")
    assert not is_card("4111111111111112")
    assert is_my_number("123456789018")
    assert not is_my_number("123456789012")


def test_a_callers_number_is_a_keyed_hash_whatever_its_form():
    def key(caller: str, secret: bytes = b"k", tenant: str = "t") -> str:
        event = hash_caller(CallEvent(call_id="c", body=CallStarted(), caller=caller), secret, tenant)
        assert event.caller is None
        return event.body.caller_key

    assert key("090-1234-5678") == key("+819012345678") != ""
    assert key("090-1234-5678") != key("090-1234-5679")
    assert key("090-1234-5678") != key("090-1234-5678", b"other")
    assert key("090-1234-5678") != key("090-1234-5678", tenant="u")
    assert key("anonymous") == key("123") == ""


async def test_nothing_that_was_said_is_in_a_log_line_or_a_file_in_the_clear(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    async with serving(tmp_path / "data") as running, platform(running) as peer:
        await peer.send(started(caller={"number": "090-1234-5678"}), said(1, "秘密の言葉 バカ 080-9876-5432"))
        await peer.send(said(2, "秘密の言葉", start_ms=-1), "秘密の言葉{")
        await peer.nacked(2)
    # The client of this test logs its own frames, at a level that no installation writes.
    written = [record for record in caplog.records if not record.name.startswith("websockets")]
    lines = "\n".join(record.getMessage() + str(record.__dict__) for record in written)
    assert "秘密" not in lines
    stored = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
    for number in ("090-1234-5678", "+819012345678", "080-9876-5432", "8098765432"):
        assert number.encode() not in stored
