from __future__ import annotations

import json
import logging

import httpx
import pytest
from click.testing import CliRunner

from detector.events import CallEnded, CallEvent, CallStarted
from server.classify import read_line
from server.cli import main
from server.digits import is_card, is_my_number
from server.errors import SetupError
from server.installation import read_installation
from server.redaction import compile_patterns, hash_caller, redact, redact_event
from server.settings import load_settings
from tests.server.running import ScriptedScorer, platform, said, serving, started, supervisor


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
        ("ぜろきゅうぜろいちにさんよんごろくななはち", "ja", "〈電話番号〉"),
        ("090の一二三四の5678", "ja", "〈電話番号〉"),
        ("注文123 4111 1111 1111 1111", "ja", "注文123 〈カード番号〉"),
        ("call two one two triple five oh one two three", "en", "call 〈電話番号〉"),
        ("forty one eleven eleven eleven eleven eleven eleven eleven", "en", "〈カード番号〉"),
        ("東京都千代田区丸の内1丁目2番3号です", "ja", "〈住所〉です"),
        ("横浜市西区みなとみらい２−３−１に住んでます", "ja", "〈住所〉に住んでます"),
        ("〒100-0005 東京都千代田区丸の内一丁目九番一号", "ja", "〈住所〉"),
        ("大阪府堺市堺区南瓦町3番1号 102号室", "ja", "〈住所〉"),
        ("世田谷区北沢二の十の十五", "ja", "〈住所〉"),
        ("I live at 42 Elm Street, Springfield, IL 62704", "en", "I live at 〈住所〉"),
        ("twelve baker street please", "en", "〈住所〉 please"),
        ("注文番号は1234567です", "ja", "注文番号は1234567です"),
        ("横浜市の一番の店で2-3日待った", "ja", "横浜市の一番の店で2-3日待った"),
        ("町の3-4人がお客さんにごさんの", "ja", "町の3-4人がお客さんにごさんの"),
        ("I waited 5 minutes down the street", "en", "I waited 5 minutes down the street"),
        ("I have one two three four five six seven reasons", "en", "I have one two three four five six seven reasons"),
        ("三回も五回も電話した", "ja", "三回も五回も電話した"),
        ("2026年11月24日の午後3時", "ja", "2026年11月24日の午後3時"),
    ],
)
def test_what_is_masked_and_what_is_not(text, language, masked):
    assert redact(text, language) == masked


def test_a_house_masks_what_only_it_can_describe(tmp_path):
    patterns = compile_patterns({"会員番号": r"M-\d{6}"})
    assert redact("会員はM-123456、090-1234-5678", "ja", patterns) == "会員は〈会員番号〉、〈電話番号〉"


@pytest.mark.parametrize("table", ["a = '('", "a = 'x*'", "'a〉' = 'x'"])
def test_a_pattern_that_cannot_work_stops_the_start_with_its_name(tmp_path, table):
    config = tmp_path / "mamori.toml"
    config.write_text(f"[redact]\n{table}\n", encoding="utf-8")
    with pytest.raises(SetupError, match=r"redact: .*a.*expected"):
        load_settings(config, {})


async def test_every_free_text_of_a_call_is_masked(tmp_path):
    folder = tmp_path / "data"
    async with serving(folder, redact={"会員番号": r"M-\d{6}"}) as running, platform(running) as peer:
        await peer.send(started(metadata={"note": "080-9876-5432"}))
        await peer.send(said(1, "会員M-123456", is_final=False), said(2, "会員M-123456です", segment_id="s1"))
        await peer.send({"type": "agent.help", "call_id": "c-1", "seq": 3, "offset_ms": 9000, "note": "090-1234-5678"})
        await peer.acked(3)
    stored = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert "会員〈会員番号〉です".encode() in stored
    for secret in ("M-123456", "080-9876-5432", "090-1234-5678"):
        assert secret.encode() not in stored


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


@pytest.mark.parametrize(
    ("name", "value", "stored"),
    [
        ("orderId", "0312345678", "0312345678"),
        ("contact_id", "4111111111111111", "4111111111111111"),
        ("CallSid", "CA09012345678", "CA09012345678"),
        (
            "InstanceARN",
            "arn:aws:connect:ap-northeast-1:123456789018:i",
            "arn:aws:connect:ap-northeast-1:123456789018:i",
        ),
        ("ticket", "123456789018", "123456789018"),
        ("x-session-key", "09012345678", "09012345678"),
        ("ref", "call 0312345678", "call 〈電話番号〉"),
        ("id", "+81312345678", "+〈電話番号〉"),
        ("contact_id", "a@example.com", "〈メール〉"),
        ("contact_id", "M-123456", "〈会員番号〉"),
        ("caller_id", "09012345678", "〈電話番号〉"),
        ("customerId", "09012345678", "〈電話番号〉"),
        ("cardId", "4111111111111111", "〈カード番号〉"),
        ("note", "0312345678", "〈電話番号〉"),
        ("paid", "0312345678", "〈電話番号〉"),
        ("番号", "0312345678", "〈電話番号〉"),
    ],
)
def test_ids_of_a_platform_stay_whole_and_numbers_of_people_do_not(name, value, stored):
    patterns = compile_patterns({"会員番号": r"M-\d{6}"})
    event = redact_event(CallEvent(call_id="c", body=CallStarted(metadata={name: value})), "ja", patterns)
    assert event.body.metadata == {name: stored}


def test_the_reason_of_an_end_is_masked():
    event = CallEvent(call_id="c", body=CallEnded(offset_ms=1, reason="090-1234-5678 hung up"))
    assert redact_event(event, "ja").body.reason == "〈電話番号〉 hung up"


def test_the_command_line_masks_what_the_house_describes(tmp_path, monkeypatch):
    config = tmp_path / "mamori.toml"
    config.write_text("[redact]\n\"会員番号\" = 'M-\\d{6}'\n", encoding="utf-8")
    patterns = read_installation(config).patterns
    _, request = read_line(json.dumps({"text": "会員M-123456だ", "context": ["agent: M-654321ですね"]}), patterns)
    assert request.text == "会員〈会員番号〉だ"
    assert request.context[0].text == "〈会員番号〉ですね"
    seen = []
    monkeypatch.setattr("models.scorer.load_scorer", lambda _model: Seeing(seen))
    answer = CliRunner().invoke(main, ["classify", "--config", str(config)], input='{"text": "会員M-123456だ"}\n')
    assert answer.exit_code == 0, answer.output
    calls = tmp_path / "calls.jsonl"
    events = (started(), said(1, "バカ、会員M-123456だ"))
    calls.write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")
    answer = CliRunner().invoke(main, ["replay", str(calls), "--config", str(config)])
    assert answer.exit_code == 0, answer.output
    assert "会員〈会員番号〉だ" in answer.stdout
    assert [text for text in seen if "M-123456" in text] == []
    assert len(seen) >= 2


class Seeing(ScriptedScorer):
    """Keeps what it was asked."""

    def __init__(self, seen: list[str]) -> None:
        self.seen = seen

    def score(self, requests):
        self.seen += [request.text for request in requests]
        return super().score(requests)


async def test_supervisors_notes_are_masked_by_the_houses_patterns_on_every_way(tmp_path):
    async with (
        serving(tmp_path, redact={"会員番号": r"M-\d{6}"}) as running,
        platform(running) as peer,
        supervisor(running) as watcher,
        httpx.AsyncClient(base_url=running.http) as http,
    ):
        for call_id in ("c-1", "c-2"):
            await peer.send(started(call_id=call_id), said(1, "バカ", call_id=call_id))
            alert_id = (await watcher.until("alert.raised"))["alert"]["alert_id"]
            body = {"outcome": "harassment", "note": "会員M-123456、080-9876-5432"}
            if call_id == "c-1":
                assert (await watcher.command(type="resolve", alert_id=alert_id, **body))["type"] == "ok"
            else:
                assert (await http.post(f"/v1/alerts/{alert_id}/resolve", json=body)).status_code == 200
        alerts = (await http.get("/v1/alerts?state=all")).json()["alerts"]
    assert [alert["note"] for alert in alerts] == ["会員〈会員番号〉、〈電話番号〉"] * 2


@pytest.mark.parametrize("text", ["5 " * 8000, "0 " * 8000, "090-" * 4000, "five " * 3200])
@pytest.mark.parametrize("language", ["ja", "en"])
def test_a_recogniser_that_is_stuck_at_digits_holds_nobody_up(monkeypatch, text, language):
    judged = []
    monkeypatch.setattr("server.digits.is_phone", lambda digits, region: judged.append(digits))
    redact(text, language)
    assert len(judged) < 100
