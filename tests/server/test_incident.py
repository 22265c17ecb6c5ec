from __future__ import annotations

import copy
import json
import threading

import httpx
import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from models.corpus.schema import read_items
from server.auth import Role, Tokens
from server.cli import main
from server.incident import digest
from server.incident_forms import marked
from server.storage.tables import ALERTS, AUDIT
from tests.server.running import ScriptedScorer, ended, over, platform, said, serving, started, supervisor

AGENT = {"id": "a-17", "name": "佐藤 花子"}
HOSTILE = "<img src=x onerror=alert(1)>バカ"


async def a_call(running, text: str = "佐藤のバカ", call_id: str = "c-1") -> None:
    """A call with one abusive utterance, acknowledged and resolved with a note, and one flagged utterance."""
    async with supervisor(running) as watcher, platform(running) as peer:
        await watcher.until("snapshot")
        await peer.send(
            started(call_id=call_id, agent=AGENT), said(1, "はい佐藤です", call_id=call_id, speaker="agent")
        )
        await peer.send(said(2, text, call_id=call_id), said(3, "月夜ばかりと思うな", call_id=call_id))
        alert = (await watcher.until("alert.raised"))["alert"]
        await watcher.command(type="acknowledge", alert_id=alert["alert_id"])
        await watcher.command(
            type="resolve", alert_id=alert["alert_id"], outcome="false_alarm", note="佐藤は友人 090-1234-5678"
        )
        await peer.send(ended(4, call_id))
        await peer.acked(4, call_id)
    await over(running, call_id)
    async with httpx.AsyncClient(base_url=running.http) as client:
        flag = {"segment_id": "s3", "labels": ["threat"], "note": "implied"}
        assert (await client.post(f"/v1/calls/{call_id}/flag", json=flag)).status_code == 200


@pytest.fixture
async def server(tmp_path):
    async with serving(tmp_path / "data") as running:
        yield running


@pytest.fixture
async def client(server):
    async with httpx.AsyncClient(base_url=server.http) as found:
        yield found


async def issue(client, query: str = "format=json") -> dict:
    answer = await client.get(f"/v1/calls/c-1/incident?{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_the_report_says_who_when_what_and_by_which_rules(server, client):
    await a_call(server)
    doc = (await issue(client, "format=json&personal=true"))["incident"]
    assert (doc["call"]["call_id"], doc["call"]["level"], doc["agents"]) == ("c-1", "warning", [AGENT])
    (alert,) = doc["alerts"]
    assert (alert["acknowledged_by"], alert["outcome"], alert["state"]) == ("local", "false_alarm", "resolved")
    assert [step["change"] for step in alert["history"]] == ["alert.raised", "alert.acknowledged", "alert.resolved"]
    assert alert["evidence"][0]["at_ms"] == 12_000
    assert alert["evidence"][0]["at"] > doc["call"]["started_at"]
    assert (doc["versions"]["model"], len(doc["versions"]["rules"])) == (["scripted"], 1)
    assert [segment["text"] for segment in doc["transcript"]][1] == "佐藤のバカ"
    assert doc["flags"][0]["labels"] == ["threat"]
    assert "090-1234" not in json.dumps(doc)
    assert "〈電話番号〉" in alert["note"]


async def test_without_permission_people_are_numbers_and_offsets_stay(server, client):
    await a_call(server)
    doc = (await issue(client))["incident"]
    text = json.dumps(doc, ensure_ascii=False)
    for name in ("佐藤", "花子", "a-17", "local", "友人", "implied"):
        assert name not in text, name
    (alert,) = doc["alerts"]
    piece = alert["evidence"][0]
    span = piece["spans"][0]
    assert piece["text"] == "＊＊のバカ"
    assert piece["text"][span["start"] : span["end"]] == "バカ"
    assert (alert["acknowledged_by"], alert["note"], alert["note_withheld"]) == ("supervisor-1", "", True)
    assert doc["agents"] == [{"id": "agent-1", "name": ""}]


async def test_the_hash_is_the_same_until_something_changes(server, client):
    await a_call(server)
    first, second = await issue(client), await issue(client)
    assert first["sha256"] == second["sha256"] == digest(first["incident"])
    assert (await client.post("/v1/incidents/verify", json=first)).json()["intact"]
    changed = copy.deepcopy(first)
    changed["incident"]["alerts"][0]["level"] = "critical"
    answer = (await client.post("/v1/incidents/verify", json=changed)).json()
    assert (answer["intact"], "does not have the hash" in answer["reason"]) == (False, True)
    changed["sha256"] = digest(changed["incident"])
    answer = (await client.post("/v1/incidents/verify", json=changed)).json()
    assert (answer["intact"], "no report of that hash" in answer["reason"]) == (False, True)
    async with supervisor(server):
        await client.post("/v1/calls/c-1/flag", json={"segment_id": "s2", "labels": ["exposure"]})
    assert (await issue(client))["sha256"] != first["sha256"]
    for wrong in ({}, {"incident": {}, "sha256": "x"}, {"analysis": [1, {}]}):
        assert (await client.post("/v1/incidents/verify", json=wrong)).status_code == 400


def test_a_number_has_one_hash_however_it_was_written():
    assert digest({"score": 1.0, "b": [0.5]}) == digest({"b": (0.5,), "score": 1})
    assert digest({"a": 1}) != digest({"a": "1"})


async def test_the_vcon_holds_the_talk_and_the_report(server, client):
    await a_call(server)
    answer = await client.get("/v1/calls/c-1/incident?format=vcon")
    assert answer.headers["content-type"].startswith("application/vcon+json")
    made, full = answer.json(), await issue(client, "format=vcon&personal=true")
    assert [item["body"] for item in made["dialog"]] == ["はい＊＊です", "＊＊のバカ", "月夜ばかりと思うな"]
    assert [item["parties"] for item in made["dialog"]] == [1, 0, 0]
    assert made["redacted"] == {"uuid": full["uuid"], "type": "personal data"}
    assert "redacted" not in full
    assert made["uuid"][14] == "8"
    assert (await client.post("/v1/incidents/verify", json=made)).json()["intact"]


@pytest.mark.parametrize(("language", "law", "other"), [("ja", "脅迫罪", "Penal"), ("en", "Penal Code", "脅迫罪")])
async def test_law_is_named_in_the_language_of_the_page(server, client, language, law, other):
    await a_call(server, "殺すぞ、死ね")
    page = (await client.get(f"/v1/calls/c-1/incident?language={language}")).text
    assert law in page
    assert other not in page


@pytest.mark.parametrize("language", ["ja", "en"])
async def test_the_page_marks_the_evidence_and_runs_nothing(server, client, language):
    await a_call(server, HOSTILE)
    page = await client.get(f"/v1/calls/c-1/incident?language={language}&personal=true")
    assert page.headers["content-type"].startswith("text/html")
    assert "<img" not in page.text
    assert "&lt;img src=x onerror=alert(1)&gt;<mark>バカ</mark>" in page.text
    assert "style-src 'self'" in page.headers["content-security-policy"]
    assert "<style" not in page.text
    assert (await client.get("/incident.css")).status_code == 200


@pytest.mark.parametrize(
    ("text", "spans", "page"),
    [
        ("😡𠮟るバカ", [(3, 5)], "😡𠮟る<mark>バカ</mark>"),
        ("ｶﾞ㍻バカ", [(3, 5)], "ｶﾞ㍻<mark>バカ</mark>"),
        ("a<b", [(1, 2)], "a<mark>&lt;</mark>b"),
        ("abcdef", [(0, 3), (2, 4)], "<mark>abc</mark><mark>d</mark>ef"),
        ("abc", [(2, 9), (5, 6)], "ab<mark>c</mark>"),
        ("abc", [], "abc"),
    ],
)
def test_marks(text, spans, page):
    assert str(marked(text, [{"start": start, "end": end} for start, end in spans])) == page


async def test_a_call_that_goes_on_has_a_report_that_says_so(server, client):
    async with platform(server) as peer:
        await peer.send(started(), said(1, "もしもし"))
        await peer.acked(1)
        doc = (await issue(client))["incident"]
    assert (doc["complete"], len(doc["transcript"]), doc["alerts"]) == (False, 1, [])
    assert (await client.get("/v1/calls/none/incident")).status_code == 404
    assert (await client.get("/v1/calls/c-1/incident?timezone=X/Y")).status_code == 400
    assert (await client.get("/v1/calls/c-1/incident?instance=other")).status_code == 404


async def test_names_are_for_leads_and_every_report_is_on_the_audit_trail(tmp_path):
    async with serving(tmp_path / "data", auth=True) as running:
        engine = running.app.runtime.log.state.engine
        tokens, made = Tokens(engine), {}
        for name, role, queues in (
            ("sup", Role.SUPERVISOR, None), ("far", Role.SUPERVISOR, frozenset({"tech"})), ("lead", Role.LEAD, None),
            ("feed", Role.PLATFORM, None),
        ):  # fmt: skip
            made[name] = tokens.create(name=name, tenant="default", role=role, queues=queues)[1]
        made["other"] = tokens.create(name="other", tenant="b", role=Role.ADMIN)[1]
        headers = {name: {"Authorization": f"Bearer {secret}"} for name, secret in made.items()}
        async with platform(running, **headers["feed"]) as peer:
            await peer.send(started(), said(1, "もしもし"), ended(2))
            await peer.acked(2)
        async with httpx.AsyncClient(base_url=running.http) as client:
            codes = {
                (name, query): (
                    await client.get(f"/v1/calls/c-1/incident?format=json{query}", headers=headers[name])
                ).status_code
                for name in ("sup", "far", "lead", "feed", "other")
                for query in ("", "&personal=true")
            }
            assert (await client.get("/v1/reports/feedback", headers=headers["sup"])).status_code == 403
        assert codes == {
            ("sup", ""): 200, ("sup", "&personal=true"): 403, ("far", ""): 404, ("far", "&personal=true"): 403,
            ("lead", ""): 200, ("lead", "&personal=true"): 200, ("feed", ""): 403, ("feed", "&personal=true"): 403,
            ("other", ""): 404, ("other", "&personal=true"): 404,
        }  # fmt: skip
        with engine.connect() as connection:
            rows = connection.execute(
                sa.select(AUDIT.c.actor, AUDIT.c.detail).where(AUDIT.c.action == "incident.issue")
            )
            assert [(row.actor, row.detail[71:]) for row in rows] == [
                ("sup", " format=json personal=false"),
                ("lead", " format=json personal=false"),
                ("lead", " format=json personal=true"),
            ]


class TestFeedback:
    async def test_misses_and_false_alarms_come_as_rows_that_training_reads(self, server, client, tmp_path):
        await a_call(server, "佐藤のバカ、電話は090-1234-5678")
        answer = await client.get("/v1/reports/feedback")
        path = tmp_path / "feedback.jsonl"
        path.write_bytes(answer.content)
        miss, false = sorted(read_items(path), key=lambda item: item.tags, reverse=True)
        assert (miss.tags, miss.labels, miss.text) == (("miss",), ("threat",), "月夜ばかりと思うな")
        assert miss.spans == ((0, len(miss.text)),)
        assert miss.context == ("agent: はい佐藤です", "customer: 佐藤のバカ、電話は〈電話番号〉")
        assert (false.tags, false.labels, false.spans) == (("false_alarm",), (), ())
        assert "c-1" not in answer.text

    async def test_the_latest_word_counts_and_a_flag_without_label_is_left_out(self, server, client):
        await a_call(server)
        await client.post("/v1/calls/c-1/flag", json={"segment_id": "s2", "labels": ["verbal_abuse"]})
        await client.post("/v1/calls/c-1/flag", json={"segment_id": "s3"})
        rows = [json.loads(line) for line in (await client.get("/v1/reports/feedback")).text.splitlines()]
        assert [(row["tags"], row["labels"]) for row in rows] == [(["miss"], ["verbal_abuse"])]


async def test_the_command_line(tmp_path):
    async with serving(tmp_path / "data") as running:
        await a_call(running)
    where = ["--data-dir", str(tmp_path / "data")]

    def run(*args: str):
        return CliRunner().invoke(main, [*args, *where])

    for form in ("html", "json", "vcon"):
        out = tmp_path / f"report.{form}"
        assert run("incident", "write", "c-1", "--format", form, "--out", str(out)).exit_code == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<style>" in page
    assert "<mark>バカ</mark>" in page
    for form in ("json", "vcon"):
        assert "intact; issued" in run("incident", "verify", str(tmp_path / f"report.{form}")).output
    changed = (tmp_path / "report.json").read_text(encoding="utf-8").replace("warning", "critical")
    (tmp_path / "changed.json").write_text(changed, encoding="utf-8")
    assert run("incident", "verify", str(tmp_path / "changed.json")).exit_code == 1
    assert run("incident", "verify", str(tmp_path / "report.html")).exit_code == 1
    assert run("incident", "write", "none").exit_code == 1
    assert run("feedback", "--out", str(tmp_path / "rows")).output.startswith("2 rows, 0 left out")
    assert run("db", "verify").output == "whole\n"


async def test_stored_data_that_were_changed_show(server, client):
    await a_call(server)
    before = await issue(client)
    with server.app.runtime.log.state.engine.begin() as connection:
        body = connection.execute(sa.select(ALERTS.c.body)).scalar_one()
        connection.execute(ALERTS.update().values(body=body.replace(b"false_alarm", b"harassment!")))
    assert (await issue(client))["sha256"] != before["sha256"]


GIVEN = [
    ("caution", "恐れ入りますが、そのようなお言葉はお控えください"),
    ("first_warning", "これ以上続くようでしたら、お電話を切らせていただきます"),
    ("final_warning", "最後の警告です。次に同じことがありましたら、お電話を切らせていただきます"),
]


async def test_the_steps_that_were_given_stand_with_their_words_and_times(server, client):
    async with platform(server) as peer:
        await peer.send(started(agent=AGENT), said(1, "バカ"))
        # The last one comes after the last alert: no alert shows it.
        for number, (_, words) in enumerate(GIVEN):
            await peer.send(said(2 + 2 * number, words, speaker="agent"), said(3 + 2 * number, "はい"))
        await peer.send(ended(8))
        await peer.acked(8)
    steps = (await issue(client))["incident"]["procedure"]
    assert [(step["step"], step["text"], step["at_ms"]) for step in steps] == [
        (name, words, (2 + 2 * number) * 5000 + 2000) for number, (name, words) in enumerate(GIVEN)
    ]
    assert [step["segment_id"] for step in steps] == ["s2", "s4", "s6"]
    held = (await issue(client, "format=vcon"))["analysis"][0]["body"]["incident"]
    assert held["procedure"] == steps
    page = (await client.get("/v1/calls/c-1/incident?language=en&timezone=UTC")).text
    for step in steps:
        assert f"{step['at'][:10]} {step['at'][11:19]}" in page
        assert f"<blockquote>{step['text']}</blockquote>" in page


async def test_what_is_not_scored_yet_stands_as_it_was_said_and_the_report_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("server.live.scoring.SCORE_WAIT_S", 600)
    may = threading.Event()

    class Held(ScriptedScorer):
        def score(self, requests):
            may.wait()
            return super().score(requests)

    async with serving(tmp_path / "data", scorer=Held()) as running, httpx.AsyncClient(base_url=running.http) as client:
        try:
            async with platform(running) as peer:
                await peer.send(started(agent=AGENT), said(1, "バカ"), said(2, GIVEN[0][1], speaker="agent"), ended(3))
                await peer.acked(3)
            early = (await issue(client))["incident"]
            pages = [(await client.get(f"/v1/calls/c-1/incident?language={name}")).text for name in ("ja", "en")]
        finally:
            may.set()
        await over(running)
        late = (await issue(client))["incident"]
        page = (await client.get("/v1/calls/c-1/incident?language=en")).text
    assert (early["complete"], early["awaiting_scores"], early["alerts"]) == (False, 2, [])
    assert "判定待ちの発話 2 件" in pages[0]
    assert "still to be scored: 2" in pages[1]
    assert (late["complete"], late["awaiting_scores"], len(late["alerts"])) == (True, 0, 1)
    assert "to be scored" not in page
    assert [step["step"] for step in early["procedure"]] == ["caution"]
    assert early["procedure"] == late["procedure"]


CALLER, OPERATOR = "customer", "agent"


@pytest.mark.parametrize(
    ("events", "found", "spoke"),
    [
        (
            [
                said(1, "お電話ありがとうございます", speaker=CALLER), said(2, "バカ", speaker=OPERATOR),
                {"type": "call.speakers", "call_id": "c-1", "seq": 3, "swapped": True},
                said(4, "確認いたします", speaker=OPERATOR), said(5, "荷物が届かない", speaker=CALLER),
            ],
            "platform", [OPERATOR, CALLER, OPERATOR, CALLER],
        ),
        (
            [
                said(1, "お電話ありがとうございます、窓口でございます", speaker=CALLER),
                said(2, "荷物が届かないんですけど、どうなってるんですか", speaker=OPERATOR),
                said(3, "かしこまりました、お調べいたします", speaker=CALLER), said(4, "バカ", speaker=OPERATOR),
            ],
            "detected", [OPERATOR, CALLER, OPERATOR, CALLER],
        ),
        ([said(1, "はい", speaker=OPERATOR), said(2, "バカ", speaker=CALLER)], "as_labelled", [OPERATOR, CALLER]),
    ],
)  # fmt: skip
async def test_swapped_speakers_are_shown_as_they_were(server, client, events, found, spoke):
    async with platform(server) as peer, supervisor(server) as watcher:
        await peer.send(started(), *events)
        await peer.acked(events[-1]["seq"])
        assert (await watcher.command(type="watch", call_id="c-1"))["type"] == "ok"
        live = (await client.get("/v1/calls/c-1/events")).json()["segments"]
        await peer.send(ended(events[-1]["seq"] + 1))
        await peer.acked(events[-1]["seq"] + 1)
    doc = (await issue(client))["incident"]
    assert doc["speakers"] == found
    assert [segment["speaker"] for segment in doc["transcript"]] == spoke
    assert [segment["said_by"] for segment in live] == spoke
    assert [segment["said_by"] for segment in (await client.get("/v1/calls/c-1/events")).json()["segments"]] == spoke
    made = (await client.get("/v1/calls/c-1/incident?format=vcon")).json()
    assert [item["parties"] for item in made["dialog"]] == [0 if who == CALLER else 1 for who in spoke]
    page = (await client.get("/v1/calls/c-1/incident?language=en")).text
    assert ("wrong way round" in page) == (found != "as_labelled")
    turned = [segment for segment in doc["transcript"] if segment["labelled"] != segment["speaker"]]
    assert bool(turned) == (found != "as_labelled") == ("⇄</td>" in page)
