from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from detector.adapters.registry import BUNDLED
from server.cli import main
from tests.detector.adapters.telling import call, told


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def peaks(out: str) -> set[tuple[str, str]]:
    found = [json.loads(line)["alert"] for line in out.splitlines()]
    return {(alert["call_id"], alert["kind"]) for alert in found if alert["level"] in ("escalate", "critical")}


@pytest.mark.parametrize("name", ["contact_lens", "genesys", "twilio", "lca", "salesforce_voice", "vcon"])
def test_a_file_in_a_platforms_format(tmp_path, name):
    path = tmp_path / "c-1.jsonl"
    path.write_bytes(b"\n".join(data for data, _ in told(BUNDLED[name], call(partials=False))))
    code, out, err = run("replay", "--format", name, str(path))
    assert code == 0, err
    assert peaks(out) == {("c-1", "abuse")}
    assert "messages" in err


def test_the_two_sides_of_a_call_from_two_files_are_merged_by_their_times(tmp_path):
    sides = {"customer": tmp_path / "customer.txt", "agent": tmp_path / "agent.txt"}
    for side, path in sides.items():
        messages = [data for data, envelope in told(BUNDLED["amivoice"], call()) if envelope.query["speaker"] == side]
        path.write_bytes(b"\n".join(messages))
    queries = [f"--query=call_id=c-7&speaker={side}" for side in sides]
    code, out, err = run("replay", "--format", "amivoice", *queries, *map(str, sides.values()))
    assert code == 0, err
    assert peaks(out) == {("c-7", "abuse")}


def test_a_call_is_named_after_its_file(tmp_path):
    path = tmp_path / "call-17.jsonl"
    path.write_bytes(b"\n".join(data for data, _ in told(BUNDLED["deepgram"], call())))
    code, out, _ = run("replay", "--format", "deepgram", "--query", "channels=customer,agent", str(path))
    assert code == 0
    assert peaks(out) == {("call-17", "abuse")}


def test_an_array_of_messages_is_one_after_the_other(tmp_path):
    path = tmp_path / "c.json"
    messages = [json.loads(data) for data, _ in told(BUNDLED["contact_lens"], call(partials=False))]
    path.write_text(json.dumps(messages, indent=2), encoding="utf-8")
    code, out, _ = run("replay", "--format", "contact_lens", str(path))
    assert code == 0
    assert peaks(out) == {("c-1", "abuse")}


def test_mistakes_are_named(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"EventType": "STARTED", "ContactId": "c"}\n{oops\n', encoding="utf-8")
    assert f"{path}:2: expected JSON" in run("replay", "--format", "contact_lens", str(path))[2]
    assert "format: expected one of contact_lens, genesys" in run("replay", "--format", "none", str(path))[2]
    code, _, err = run("replay", "--format", "lca", "--query", "language", str(path))
    assert (code, "expected name=value" in err) == (1, True)
    code, _, err = run("replay", "--format", "lca", "--query=a=1", "--query=a=2", str(path))
    assert (code, "once for each file" in err) == (1, True)


def test_a_mapping_is_checked_and_used(tmp_path):
    mapping = tmp_path / "acme.toml"
    mapping.write_text('name = "acme"\n[[message]]\nis = "segment"\nid = "/c"\ntext = "/t"\n', encoding="utf-8")
    assert run("config", "check", str(mapping))[1].strip() == f"{mapping}: format acme: good"
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps({"c": "c-1", "t": "殺すぞ"}), encoding="utf-8")
    code, out, _ = run("replay", "--mapping", str(mapping), "--format", "acme", str(path))
    assert code == 0
    assert peaks(out) == {("c-1", "abuse")}
    mapping.write_text('name = "acme"\n[[message]]\nis = "speech"\n', encoding="utf-8")
    code, _, err = run("config", "check", str(mapping))
    assert (code, "message[0].is: expected one of" in err) == (1, True)


def test_what_a_person_should_know_is_told(tmp_path):
    path = tmp_path / "m.jsonl"
    lines = [{"EventType": "BRAND_NEW"}, *(json.loads(d) for d, _ in told(BUNDLED["contact_lens"], call()))]
    lines[-2]["Segments"][0]["Transcript"]["Content"] = "f*** you"
    path.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    err = run("replay", "--format", "contact_lens", str(path))[2]
    assert "unknown_type: BRAND_NEW" in err
    assert "masked_stream" in err
