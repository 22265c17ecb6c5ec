from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.events import Segment
from detector.labels import Speaker
from detector.playbook import default_playbook
from detector.rules import default_rules
from server import digits, running_digits
from server.digits import MASK, has_digits, mask_numbers
from server.live.call import LiveCall
from server.replay import replay
from server.running_digits import RunningDigits, masked_copy
from server.storage.port import Snapshot
from server.wire import decode_event
from tests.server.running import ScriptedScorer, platform, said, serving, started, supervisor


def run(*texts: str, language: str = "ja", apart_ms: int = 4000) -> list[str]:
    """What is stored in the end of the texts that one speaker says one after the other."""
    digits, stored = RunningDigits(), {}
    for number, text in enumerate(texts):
        segment = Segment(
            segment_id=str(number),
            speaker=Speaker.CUSTOMER,
            text=text,
            start_ms=number * apart_ms,
            end_ms=number * apart_ms + 1000,
        )
        segment, rewrites = digits.take(segment, language)
        stored[segment.segment_id] = segment.text
        stored |= {item.segment_id: item.text for item in rewrites}
    assert [len(text) for text in stored.values()] == [len(text) for text in texts]
    return list(stored.values())


@pytest.mark.parametrize(
    ("texts", "language", "stored"),
    [
        (["番号は4111", "1111", "1111です"], "ja", ["番号は＊＊＊＊", "＊＊＊＊", "＊＊＊＊です"]),
        (["12", "3", "4"], "ja", ["＊＊", "＊", "＊"]),
        (["12", "3"], "ja", ["12", "3"]),
        (["ゼロ九ゼロの", "えーっと", "一二三四"], "ja", ["＊＊＊＊＊の", "えーっと", "＊＊＊＊"]),
        (["０９０", "１２３４"], "ja", ["＊＊＊", "＊＊＊＊"]),
        (["it's four one", "one one"], "en", ["it's ＊＊＊＊ ＊＊＊", "＊＊＊ ＊＊＊"]),
        (["4111 and", "then 1111, okay"], "en", ["＊＊＊＊ and", "then ＊＊＊＊, okay"]),
        (["3000", "30分待った"], "ja", ["3000", "30分待った"]),
        (["合計3000", "2026年に買った"], "ja", ["合計3000", "2026年に買った"]),
        (["担当は田中さん", "1234円です"], "ja", ["担当は田中さん", "1234円です"]),
        (["that one", "one more thing"], "en", ["that one", "one more thing"]),
    ],
)
def test_groups_read_out_one_after_the_other(texts, language, stored):
    assert run(*texts, language=language) == stored


def test_a_long_pause_ends_a_run():
    assert run("4111", "1111", apart_ms=17_000) == ["4111", "1111"]


def test_a_copy_is_masked_also_where_it_was_a_partial():
    assert masked_copy("番号は4111", "番号は＊＊＊＊") == "番号は＊＊＊＊"
    assert masked_copy("番号は41", "番号は＊＊＊＊") == "番号は＊＊"
    assert masked_copy("いいえ、違う", "番号は＊＊＊＊") == "いいえ、違う"


CARD = ("バカ野郎、番号は4929", "1234", "5678", "9012")


async def test_what_was_stored_is_rewritten_everywhere_and_watchers_are_told(tmp_path):
    folder = tmp_path / "data"
    async with serving(folder) as running, platform(running) as peer, supervisor(running) as watcher:
        await peer.send(
            started(), said(1, "番号は49", segment_id="s1", is_final=False), said(2, CARD[0], segment_id="s1")
        )
        await peer.acked(2)
        await watcher.until("alert.raised")
        await watcher.socket.send('{"type":"watch","ref":"1","call_id":"c-1"}')
        await watcher.until("ok")
        for seq, text in enumerate(CARD[1:], 3):
            await peer.send(said(seq, text, start_ms=5000 + seq * 2000, end_ms=5900 + seq * 2000))
        await peer.acked(5)
        told = await watcher.until("segment.redacted")
        assert told == {
            "type": "segment.redacted",
            "call_id": "c-1",
            "segment_id": "s1",
            "text": "バカ野郎、番号は＊＊＊＊",
        }
        stored = [row.row.value for row in running.app.runtime.log.read_call("default", _instance(running))]
        texts = [value.text for value in stored if isinstance(value, Segment)]
        assert texts == ["番号は＊＊", "バカ野郎、番号は＊＊＊＊", "＊＊＊＊", "＊＊＊＊", "＊＊＊＊"]
        (alert,) = running.app.runtime.log.alerts("default")
        assert alert.evidence[0].text == "バカ野郎、番号は＊＊＊＊"
        (event, *_) = running.app.runtime.log.stream("default", after=0)
        assert event.event.alert.evidence[0].text == "バカ野郎、番号は＊＊＊＊"
    # Stopping has emptied the journals and put another snapshot in the place of the last.
    assert not [path for path in folder.rglob("*") if path.is_file() and b"4929" in path.read_bytes()]


async def test_a_run_goes_on_after_a_restart(tmp_path):
    async with serving(tmp_path / "data") as running, platform(running) as peer:
        await peer.send(started(), said(1, "番号は49"))
        await peer.acked(1)
    async with serving(tmp_path / "data") as running, platform(running) as peer:
        await peer.send(said(2, "12", start_ms=9000, end_ms=9500))
        await peer.acked(2)
        stored = [row.row.value for row in running.app.runtime.log.read_call("default", _instance(running))]
        assert [value.text for value in stored if isinstance(value, Segment)] == ["番号は＊＊", "＊＊"]


async def test_what_comes_in_one_frame_with_the_start_is_masked_in_the_call_s_language(tmp_path):
    async with serving(tmp_path / "data") as running, platform(running) as peer:
        first = [
            started(language="en"),
            said(1, "call me on 212-555-0199"),
            said(2, "it's four one"),
            said(3, "one one"),
        ]
        await peer.send(json.dumps(first))
        await peer.acked(3)
        stored = [row.row.value for row in running.app.runtime.log.read_call("default", _instance(running))]
        texts = [value.text for value in stored if isinstance(value, Segment)]
        assert texts == ["call me on 〈電話番号〉", "it's ＊＊＊＊ ＊＊＊", "＊＊＊ ＊＊＊"]


def _instance(running) -> str:
    return running.app.runtime.log.find_call("default", "c-1").instance


def test_replay_masks_as_the_server_does():
    events = [
        decode_event(started()),
        *(decode_event(said(n, text)) for n, text in enumerate(("バカ野郎4929", "1234", "晒すぞ"), 1)),
    ]
    changes = list(
        replay(
            events, scorer=ScriptedScorer(), rules=default_rules(), playbook=default_playbook(), gate=lambda *_: False
        )
    )
    first, last = ({piece.text for piece in change.alert.evidence} for change in (changes[0], changes[-1]))
    assert "バカ野郎4929" in first
    assert "バカ野郎＊＊＊＊" in last


async def test_what_a_crash_left_unmasked_is_masked_at_the_next_start(tmp_path, monkeypatch):
    async with serving(tmp_path / "data") as running, platform(running) as peer:
        # The log takes the row, and the process dies before the copies are rewritten.
        monkeypatch.setattr(running.app.runtime.log._days, "redact", lambda _items: None)
        monkeypatch.setattr(LiveCall, "snapshot", _no_snapshot)
        await peer.send(started(), said(1, "番号は49"), said(2, "12", start_ms=9000, end_ms=9500))
        await peer.acked(2)
    monkeypatch.undo()
    async with serving(tmp_path / "data") as running:
        await running.app.runtime.writer.quiet()
        stored = [row.row.value for row in running.app.runtime.log.read_call("default", _instance(running))]
        assert [value.text for value in stored if isinstance(value, Segment)] == ["番号は＊＊", "＊＊"]


def _no_snapshot(call: LiveCall) -> Snapshot:
    record = call.record
    return Snapshot(tenant=record.tenant, instance=record.instance, position=-1, fold_version=-1, data=b"")


@pytest.mark.parametrize(
    ("text", "language", "found"),
    [
        ("荷物がまだ届かないのですが", "ja", False),
        ("田中さんへ伝えました", "ja", False),
        ("ごいちに", "ja", True),
        ("四丁目です", "ja", True),
        ("①番", "ja", True),
        ("１番", "ja", True),
        ("my parcel never came", "en", False),
        ("double five", "en", True),
        ("forty-one", "en", True),
        ("号室は＊＊", "ja", True),
    ],
)
def test_most_talk_is_passed_over_for_it_holds_no_digits(text: str, language: str, found: bool) -> None:
    assert has_digits(text, language) is found


def test_words_between_two_groups_do_not_end_the_run() -> None:
    running = RunningDigits()
    parts = [("4929", 0), ("はい", 2_000), ("1234", 4_000)]
    taken = [running.take(_segment(str(n), text, at_ms), "ja") for n, (text, at_ms) in enumerate(parts)]
    assert taken[2][0].text == MASK * 4
    assert [item.segment_id for item in taken[2][1]] == ["0"]


def _segment(name: str, text: str, at_ms: int) -> Segment:
    return Segment(segment_id=name, speaker=Speaker.CUSTOMER, text=text, start_ms=at_ms, end_ms=at_ms + 1_000)


_JA = (*"〇一五九１①٣3", MASK, "に", "ゼロ", "さん", "の", "、", "はい", "荷物が")
_EN = ("one ", "Nine ", "oh ", "forty ", "twelve ", "double five ", "3", "-", "and ", "parcel ", "someone ", MASK)
_TALK = st.sampled_from((("ja", _JA), ("en", _EN))).flatmap(
    lambda drawn: st.tuples(
        st.just(drawn[0]),
        st.lists(st.lists(st.sampled_from(drawn[1]), min_size=1, max_size=4).map("".join), min_size=2, max_size=6),
    )
)


@given(talk=_TALK)
def test_passing_over_talk_without_digits_lets_none_through(talk: tuple[str, list[str]]) -> None:
    language, texts = talk

    def masked() -> list[Any]:
        running = RunningDigits()
        segments = [_segment(str(n), mask_numbers(text, language), n * 2_000) for n, text in enumerate(texts)]
        return [running.take(segment, language) for segment in segments]

    quick = masked()
    with pytest.MonkeyPatch.context() as patch:
        for module in (digits, running_digits):
            patch.setattr(module, "has_digits", lambda _text, _language: True)
        assert masked() == quick
