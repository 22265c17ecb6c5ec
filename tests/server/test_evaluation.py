"""`mamori evaluate` as somebody uses it who labelled their own utterances and calls."""

from __future__ import annotations

import json

import pytest

from tests.server.test_cli import run

ABUSE = {
    "id": "1",
    "text": "お前みたいな無能は辞めちまえ",
    "language": "ja",
    "labels": ["verbal_abuse"],
    "tags": ["blunt"],
}
CALM = {"id": "2", "text": "my boss is going to kill me", "language": "en", "labels": [], "tags": ["idiom"]}


def lines(path, *items):
    path.write_text("".join((item if isinstance(item, str) else json.dumps(item)) + "\n" for item in items))
    return str(path)


def events(call_id: str, text: str) -> list[dict]:
    said = {"type": "transcript.segment", "segment_id": "s1", "speaker": "customer", "text": text}
    return [
        {"type": "call.started", "call_id": call_id, "seq": 0, "language": "ja"},
        {**said, "call_id": call_id, "seq": 1, "start_ms": 0, "end_ms": 2000},
        {"type": "call.ended", "call_id": call_id, "seq": 2, "offset_ms": 3000},
    ]


def test_tables_are_printed_and_the_folder_holds_the_rest(tmp_path):
    calls = lines(tmp_path / "c.jsonl", *events("c1", "おい、殺すぞ"), *events("c2", "住所を変えたいのですが"))
    truth = lines(
        tmp_path / "t.jsonl",
        {"call_id": "c1", "harassing": True, "kinds": ["abuse"], "first_segment_id": "s1"},
    )
    labelled = lines(tmp_path / "u.jsonl", ABUSE, CALM)
    report = tmp_path / "report"
    code, out, err = run(
        "evaluate", "--utterances", labelled, "--calls", calls, "--truth", truth, "--report", str(report)
    )
    assert code == 0, err
    assert "any harassment found 100.0%" in out
    assert "caught at warning 100.0%" in out
    assert "1 calls left out: nothing is said of them" in out
    assert json.loads((report / "calls.json").read_text())["all"]["caught"] == 1.0
    assert "caught at warning 100.0%" in (report / "calls.html").read_text()
    assert (report / "report.html").exists()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "u.jsonl:2: not JSON"),
        ({"id": "1", "text": "x"}, "u.jsonl:2: expected an object with `classify` input and a list `labels`"),
        ({"id": "1", "text": "x", "labels": ["rude"]}, "u.jsonl:2: unknown labels ['rude']"),
        ({"id": "1", "text": "x", "labels": [], "spans": [{"start": 0}]}, "u.jsonl:2: end: missing"),
    ],
)
def test_a_bad_line_of_utterances_is_named_in_one_line(tmp_path, line, told):
    code, _, err = run("evaluate", "--utterances", lines(tmp_path / "u.jsonl", ABUSE, line))
    assert code == 1
    assert told in err
    assert "Traceback" not in err


def test_a_truth_about_a_call_without_events_is_refused(tmp_path):
    calls = lines(tmp_path / "c.jsonl", *events("c1", "はい"))
    truth = lines(tmp_path / "t.jsonl", {"call_id": "c9", "harassing": True})
    code, _, err = run("evaluate", "--calls", calls, "--truth", truth)
    assert code == 1
    assert "no events of 1 of its calls, c9 among them" in err
