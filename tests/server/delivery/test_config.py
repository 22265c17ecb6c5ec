from __future__ import annotations

import base64

import pytest
from click.testing import CliRunner

from server.cli import main
from server.delivery.config import SenderConfig
from server.delivery.outbox import Message, MessageState, Outbox
from server.delivery.secrets import read_secrets
from server.errors import SetupError
from server.settings import check_exposure, load_settings
from server.storage.bodies import Bodies
from server.storage.statedb import open_engine
from tests.server.delivery.receiver import KEY, secret


def settings_file(folder, text):
    path = folder / "mamori.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "webhook", "url": "https://a.example"}, "needs secret_file"),
        ({"kind": "webhook", "secret_file": "x"}, "either url or url_file"),
        ({"kind": "slack", "url": "https://a", "url_file": "x"}, "either url or url_file"),
        ({"kind": "pagerduty"}, "needs routing_key_file"),
        ({"kind": "webhook", "url": "http://a.example", "secret_file": "x"}, "https"),
        ({"kind": "webhook", "url": "https://u:p@a.example", "secret_file": "x"}, "without user"),
        ({"kind": "webhook", "url": "ftp://a.example", "secret_file": "x", "allow_networks": ["10.0.0.0/8"]}, "http"),
        ({"kind": "mail"}, "kind"),
        ({"kind": "slack", "url": "https://a.example", "signing_secret_file": "x"}, "go together"),
        ({"kind": "slack", "url": "https://a.example", "people": {"U1": "hanako"}}, "go together"),
        ({"kind": "teams", "url": "https://a.example", "people": {"U1": "hanako"}}, "slack alone"),
        ({"kind": "pagerduty", "routing_key_file": "x", "colour": "red"}, "colour"),
    ],
)
def test_a_sender_that_lacks_something_is_refused(fields, said):
    with pytest.raises(ValueError, match=said):
        SenderConfig.model_validate(fields)


@pytest.mark.parametrize(
    ("lines", "good"),
    [
        ([KEY], True),
        ([KEY, KEY], True),
        ([], False),
        ([KEY] * 6, False),
        (["hello"], False),
        (["whsec_" + base64.b64encode(b"short").decode()], False),
        (["whsec_!!!"], False),
    ],
)
def test_signing_keys_are_checked_and_never_quoted(tmp_path, lines, good):
    path = secret(tmp_path, "keys", *lines)
    config = SenderConfig.model_validate({"kind": "webhook", "url": "https://a.example", "secret_file": path})
    if good:
        assert read_secrets("hook", config).signing_keys == tuple(lines)
        assert KEY not in repr(read_secrets("hook", config))
    else:
        with pytest.raises(SetupError, match=r"senders\.hook\.secret_file") as refused:
            read_secrets("hook", config)
        assert not any(line in str(refused.value) for line in lines if line != "whsec_!!!")


def test_an_address_in_a_file_is_checked(tmp_path):
    path = secret(tmp_path, "url", "http://hooks.example/secret")
    config = SenderConfig.model_validate({"kind": "slack", "url_file": path})
    with pytest.raises(SetupError) as refused:
        read_secrets("slack", config)
    assert "hooks.example" not in str(refused.value)


def test_a_short_signing_secret_is_refused(tmp_path):
    path = secret(tmp_path, "key", "short")
    config = SenderConfig.model_validate(
        {"kind": "slack", "url": "https://a.example", "signing_secret_file": path, "people": {"U1": "hanako"}}
    )
    with pytest.raises(SetupError, match=r"senders\.floor\.signing_secret_file: expected at least 32"):
        read_secrets("floor", config)


def test_secrets_open_to_others_are_refused(tmp_path):
    path = tmp_path / "keys"
    path.write_text(KEY)
    path.chmod(0o644)
    text = f'[senders.hook]\nkind = "webhook"\nurl = "https://a.example"\nsecret_file = "{path}"\n'
    with pytest.raises(SetupError, match=r"senders\.hook\.secret_file.*readable by others"):
        check_exposure(load_settings(settings_file(tmp_path, text), {}))


@pytest.mark.parametrize(("tenant", "said"), [("default", "no sender of the name 'pagr'"), ("b", "another tenant")])
def test_routes_name_senders_that_exist(tmp_path, tenant, said):
    key = secret(tmp_path, "key", "R" * 32)
    name = "pagr" if tenant == "default" else "pager"
    text = f"""
[senders.pager]
kind = "pagerduty"
routing_key_file = "{key}"
[[routing.routes]]
queue = "*"
tenant = "{tenant}"
tiers = [{{senders = ["{name}"]}}]
"""
    with pytest.raises(SetupError, match=said):
        check_exposure(load_settings(settings_file(tmp_path, text), {}))


def test_dead_letters_from_the_command_line(tmp_path):
    box = Outbox(open_engine(tmp_path / "state.sqlite"), Bodies())
    box.register("hook", "default", cursor=0)
    letters = [
        Message(
            tenant="default", sender="hook", message_id=f"msg_{number}", alert_id="a", change="alert.raised",
            level="warning", created_ms=1, state=MessageState.DEAD, body=b"{}", reason="http_500",
        )
        for number in range(3)
    ]  # fmt: skip
    box.put("hook", letters, cursor=3)
    box.disable("hook", "http_410", 5)
    where = ["--data-dir", str(tmp_path)]

    def run(*args: str):
        return CliRunner().invoke(main, ["delivery", *args, *where])

    assert "disabled: http_410" in run("senders").output
    assert "dead=3" in run("senders").output
    assert run("list").output.count("http_500") == 3
    assert run("replay").exit_code == 2
    assert run("replay", "1").output == "1 replayed\n"
    assert run("replay", "1", "99").exit_code == 1
    assert run("replay", "--sender", "hook").output == "2 replayed\n"
    assert run("replay", "--all", "--tenant", "b").output == "0 replayed\n"
    assert run("enable", "none").exit_code == 1
    assert run("enable", "hook").exit_code == 0
    assert len(box.messages("default", state=MessageState.PENDING)) == 3
    assert box.senders("default")["hook"].disabled_ms is None
