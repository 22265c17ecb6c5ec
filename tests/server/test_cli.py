from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from server.cli import main
from tests.server.running import ended, said, started


def run(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
    result = CliRunner().invoke(main, list(arguments), input=stdin)
    return result.exit_code, result.stdout, result.stderr


def jsonl(*items: object) -> str:
    return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)


@pytest.fixture
def calls(tmp_path):
    path = tmp_path / "calls.jsonl"
    path.write_text(jsonl(started(at="2026-11-24T00:00:00Z"), said(1, "殺すぞ"), ended(2)), encoding="utf-8")
    return path


def test_replay_prints_alert_events_in_the_events_time(calls):
    code, out, err = run("replay", str(calls))
    assert code == 0
    raised = json.loads(out.splitlines()[0])
    assert raised["type"] == "alert.raised"
    assert raised["alert"]["latency_ms"] is None
    assert raised["alert"]["raised_at"].startswith("2026-11-24T00:00:0")
    assert "3 events" in err


def test_replay_gives_the_same_twice(calls):
    assert run("replay", str(calls))[1] == run("replay", str(calls))[1]


def test_replay_names_file_line_and_field(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text(jsonl(started(), said(1, "x", start_ms=-5)), encoding="utf-8")
    code, _, err = run("replay", str(path))
    assert code == 1
    assert f"{path}:2: start_ms:" in err


def test_replay_compares_rules(calls, tmp_path):
    rules = tmp_path / "mine.toml"
    rules.write_text(
        'version = "x"\n[abuse]\nclear_score = 1.0\ngrave_margin = 0\ngrave = "notice"\n', encoding="utf-8"
    )
    code, out, _ = run("replay", str(calls), "--rules", str(rules))
    assert code == 0
    assert set(json.loads(out)) == {"gained", "lost", "changed"}
    assert json.loads(out)["changed"][0]["after"] == "notice"


def test_tune_says_how_loud_it_would_be(calls):
    code, out, _ = run("tune", str(calls))
    assert code == 0
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["sensitivity"] for row in rows] == ["cautious", "as set", "eager"]
    assert rows[1]["warnings_per_100_calls"]["threat"] == 100.0


def test_classify_keeps_order_and_ends_with_1_after_a_bad_line():
    lines = jsonl(
        {"id": 1, "text": "殺すぞ", "language": "ja"}, {"id": 2}, {"id": 3, "text": "thanks", "language": "en"}
    )
    code, out, _ = run("classify", stdin=lines)
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["id"] for answer in answers] == [1, 2, 3]
    assert "threat" in answers[0]["labels"]
    assert "error" in answers[1]
    assert code == 1
    assert run("classify", stdin=lines.splitlines()[0])[0] == 0


@pytest.mark.parametrize("text", ["", " ", "😡😡", "あ" * 10_000, "ｶﾞｷﾞ", "\u200b\u0007", "Привет", "你好 hello"])
def test_classify_takes_any_text(text):
    code, out, _ = run("classify", stdin=jsonl({"id": 1, "text": text, "language": "ja"}))
    assert code == 0
    assert set(json.loads(out)["scores"])


def test_config_check_explains_a_bad_rule_by_line(tmp_path):
    path = tmp_path / "rules.toml"
    path.write_text('version = "x"\n[abuse]\nclear_score = 1.5\n', encoding="utf-8")
    code, _, err = run("config", "check", str(path))
    assert code == 1
    assert "line 3" in err
    assert "abuse.clear_score" in err


def test_config_check_names_a_bad_setting(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text("port = 99999\n", encoding="utf-8")
    code, _, err = run("config", "check", str(path))
    assert code == 1
    assert "port" in err


def test_serve_refuses_to_bind_beyond_loopback_without_authentication(tmp_path):
    code, _, err = run("serve", "--host", "0.0.0.0", "--data-dir", str(tmp_path))
    assert code == 1
    assert "authentication" in err


def test_tokens_are_made_listed_and_revoked(tmp_path):
    folder = str(tmp_path / "data")
    code, secret, _ = run("token", "create", "pbx", "--role", "platform", "--data-dir", folder)
    assert code == 0
    listed = run("token", "list", "--data-dir", folder)[1]
    assert secret.strip() not in listed
    token_id = listed.split("\t")[0]
    assert run("token", "revoke", token_id, "--data-dir", folder)[0] == 0
    assert "revoked" in run("token", "list", "--data-dir", folder)[1]


def test_db_verify_finds_a_change_in_the_audit_trail(tmp_path):
    from server.storage.embedded import EmbeddedLog
    from server.storage.port import AuditEntry, Batch

    log = EmbeddedLog(tmp_path / "data")
    entries = [AuditEntry(tenant="t", utc_ms=n, actor="a", action="x", target="y") for n in range(3)]
    log.append(Batch(audit=entries)).result()
    log.close()
    assert run("db", "verify", "--data-dir", str(tmp_path / "data"))[0] == 0
    import sqlite3

    with sqlite3.connect(tmp_path / "data" / "state.sqlite") as connection:
        connection.execute("UPDATE audit SET actor = 'b' WHERE id = 2")
    connection.close()
    code, _, err = run("db", "verify", "--data-dir", str(tmp_path / "data"))
    assert code == 1
    assert "entry 2" in err


def test_help_is_there_for_every_command():
    for command in (
        "serve",
        "demo",
        "replay",
        "classify",
        "evaluate",
        "train",
        "export",
        "report",
        "token",
        "db",
        "config",
    ):
        code, out, _ = run(command, "--help")
        assert code == 0, command
        assert "Usage" in out


def test_the_command_starts_without_torch():
    code = "import sys; sys.modules['torch'] = None; import server.app, server.cli, models.scorer"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "nonsense"])
def test_replay_to_what_is_no_address_says_so(calls, url):
    code, _, err = run("replay", str(calls), "--url", url)
    assert code == 1
    assert "expected ws://HOST:PORT" in err


@pytest.mark.parametrize(("data", "said_"), [(b"\xff\xfe\n", ":1: not UTF-8"), (b"{nope\n", ":1: not JSON")])
def test_replay_to_a_server_names_the_line_that_cannot_be_read(tmp_path, data, said_):
    path = tmp_path / "bad.jsonl"
    path.write_bytes(data)
    code, _, err = run("replay", str(path), "--url", "ws://127.0.0.1:9")
    assert code == 1
    assert said_ in err


def test_a_model_that_is_not_there_is_named(calls, tmp_path):
    code, _, err = run("tune", str(calls), "--model", str(tmp_path / "none"))
    assert code == 1
    assert err.startswith("Error: ")
