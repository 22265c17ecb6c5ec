"""What the command line prints for people: settings as a file, lists of commands, and a line for what is missing."""

from __future__ import annotations

import json
import tomllib

import pytest

from server.cli import main
from server.cli_help import settings_toml
from server.settings import Settings, load_settings
from tests.server.running import said, started
from tests.server.test_cli import calls as calls
from tests.server.test_cli import jsonl, run

FULL = """
port = 9001
auth = true
hosts = ["mamori.example"]
rules = "house \\"rules\\".toml"
idle_end_s = 12.5
[redact]
"会員番号" = 'M-\\d{6}'
[encryption]
key_command = ["print", "keys"]
[oidc_groups.leads]
role = "lead"
queues = ["billing"]
[senders.hook]
kind = "webhook"
url = "https://hooks.example/x"
secret_file = "SECRET"
[routing]
unattended_s = 60
[[routing.routes]]
queue = "billing"
[[routing.routes.tiers]]
people = ["hanako"]
"""


@pytest.mark.parametrize("text", ["", FULL])
def test_settings_are_printed_as_a_file_that_means_the_same(tmp_path, text):
    config, shown = tmp_path / "mamori.toml", tmp_path / "shown.toml"
    secret = tmp_path / "secret"
    secret.write_text("whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz", encoding="utf-8")
    secret.chmod(0o600)
    config.write_text(text.replace("SECRET", str(secret)), encoding="utf-8")
    code, out, err = run("config", "show", "--config", str(config))
    assert (code, err) == (0, "")
    shown.write_text(out, encoding="utf-8")
    assert load_settings(shown, {}) == load_settings(config, {})
    for name, field in Settings.model_fields.items():
        assert f"# {field.description}\n" in out
        assert name in tomllib.loads(out) or f"# {name} is not set\n" in out
    assert run("config", "check", str(shown)) == (0, f"{shown}: settings: good\n", "")


def test_what_is_set_by_the_environment_is_shown(monkeypatch):
    monkeypatch.setenv("MAMORI_KEEP_DAYS", "7")
    assert "\nkeep_days = 7\n" in settings_toml(Settings())


@pytest.mark.parametrize("group", ["", "db", "incident", "config", "caller", "token", "user", "delivery", "pull"])
def test_lists_of_commands_cut_no_sentence(group):
    code, out, _ = run(*filter(None, [group]), "--help")
    assert code == 0
    listed = " ".join(out.split("Commands:")[1].split())
    assert "..." not in listed
    parent = main.commands[group] if group else main
    for name, command in parent.commands.items():
        assert f"{name} {' '.join(command.help.split('. ')[0].split())}"[:60] in listed


def test_an_empty_file_is_told(calls, tmp_path):
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n \n", encoding="utf-8")
    code, out, err = run("replay", str(calls), str(empty))
    assert code == 0
    assert out
    assert f"{empty}: no events" in err
    assert f"{calls}: no events" not in err
    code, out, err = run("tune", str(empty))
    assert (code, out) == (1, "")
    assert err.endswith("Error: no calls to measure by\n")


@pytest.mark.parametrize(
    ("option", "name"),
    [("--rules", "none.toml"), ("--against", "none.toml"), ("--playbook", "none.toml"), ("--mapping", "none.toml")],
)
def test_a_file_that_is_not_there_or_no_text_is_named(calls, tmp_path, option, name):
    path = tmp_path / name
    code, _, err = run("replay", str(calls), option, str(path))
    assert (code, err) == (1, f"Error: {path}: No such file or directory\n")
    path.write_bytes(b"\xff\xfe")
    code, _, err = run("replay", str(calls), option, str(path))
    assert (code, err) == (1, f"Error: {path}: not UTF-8\n")


@pytest.mark.parametrize("setting", ["rules", "playbook", "shadow_rules", "mappings"])
def test_serve_names_a_file_that_is_not_there_or_no_text(tmp_path, setting):
    path, config = tmp_path / "none.toml", tmp_path / "mamori.toml"
    value = f"['{path}']" if setting == "mappings" else f"'{path}'"
    config.write_text(f"data_dir = '{tmp_path / 'data'}'\n{setting} = {value}\n", encoding="utf-8")
    assert run("serve", "--port", "0", "--config", str(config))[2].endswith(f"{path}: No such file or directory\n")
    path.write_bytes(b"\xff\xfe")
    assert run("serve", "--port", "0", "--config", str(config))[2].endswith(f"{path}: not UTF-8\n")


@pytest.mark.parametrize(
    ("arguments", "said_"),
    [
        ((), "give FILE…, or --data-dir"),
        (("--call", "c-1", "FILE"), "--call names a stored call: give --data-dir too"),
        (("--data-dir", "data", "FILE"), "--data-dir replays stored calls: leave out FILE… and --url"),
        (("--data-dir", "data", "--url", "ws://127.0.0.1:9"), "leave out FILE… and --url"),
        (("--speed", "0", "FILE"), "expected a number above 0, or max"),
        (("--speed", "fast", "FILE"), "expected a number above 0, or max"),
    ],
)
def test_sources_that_do_not_go_together_are_refused(calls, arguments, said_):
    given = [str(calls) if item == "FILE" else item for item in arguments]
    code, out, err = run("replay", *given)
    assert (code, out) == (2, "")
    assert said_ in " ".join(err.split())


def test_rules_are_compared_both_ways(tmp_path):
    """What other rules gain, lose and change, by call."""
    path, rules = tmp_path / "calls.jsonl", tmp_path / "mine.toml"
    lines = [
        *(started(call_id=name, at="2026-11-24T00:00:00Z") for name in ("c-1", "c-2")),
        said(1, "殺すぞ、家に火をつけてやる", call_id="c-1"),
        said(1, "もしもし、荷物の件です", call_id="c-2"),
    ]
    path.write_text(jsonl(*lines), encoding="utf-8")
    text = 'version = "x"\n[abuse]\nclear_score = 1.0\ngrave_margin = 0\ngrave = "notice"\n'
    rules.write_text(text, encoding="utf-8")
    code, out, err = run("replay", str(path), "--rules", str(rules))
    assert code == 0, err
    lost = out
    code, gained, _ = run("replay", str(path), "--against", str(rules), "--rules", "detector/rules.toml")
    assert code == 0
    (down,), (up,) = json.loads(lost)["changed"], json.loads(gained)["changed"]
    assert (down["call_id"], down["after"]) == (up["call_id"], up["before"]) == ("c-1", "notice")
    assert down["before"] == up["after"] != "notice"
