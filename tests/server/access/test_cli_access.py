from __future__ import annotations

from click.testing import CliRunner

from server.access.accounts import Accounts
from server.access.sessions import Method, Sessions
from server.auth import Principal, Role, Tokens
from server.cli import main
from server.cli_access import open_state
from server.storage.tables import AUDIT


def run(folder, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
    result = CliRunner().invoke(main, [*arguments, "--data-dir", str(folder)], input=stdin)
    return result.exit_code, result.stdout, result.stderr


def test_accounts_from_the_command_line(tmp_path):
    add = ("user", "add", "hanako", "--role", "lead", "--queues", "b,a", "--password-stdin")
    assert run(tmp_path, *add, stdin="horse battery staple\n")[0] == 0
    assert run(tmp_path, *add, stdin="horse battery staple\n")[0] == 1
    assert "hanako\tlead\tdefault\ta,b\topen" in run(tmp_path, "user", "list")[1]
    engine = open_state(tmp_path)
    _, cookie = Sessions(engine).create(Principal(name="hanako", tenant="default", role=Role.LEAD), Method.PASSWORD)
    assert run(tmp_path, "user", "password", "hanako", "--password-stdin", stdin="another long word\n")[0] == 0
    assert Sessions(engine).find(cookie) is None
    assert Accounts(engine).check("hanako", "another long word") is not None
    assert run(tmp_path, "user", "disable", "hanako")[0] == 0
    assert "disabled" in run(tmp_path, "user", "list")[1]
    assert run(tmp_path, "user", "enable", "hanako")[0] == 0
    assert run(tmp_path, "user", "disable", "nobody")[0] == 1
    code, _, err = run(tmp_path, "user", "password", "hanako", "--password-stdin", stdin="short\n")
    assert (code, "short" in err) == (1, False)
    with engine.connect() as connection:
        trail = [(row.actor.partition(":")[0], row.action) for row in connection.execute(AUDIT.select())]
    actions = ["user.add", "user.password", "user.disable", "user.enable"]
    assert trail == [("shell", action) for action in actions]
    engine.dispose()


def test_a_token_is_shown_once_expires_and_is_revoked_on_record(tmp_path):
    code, secret, err = run(tmp_path, "token", "create", "feed", "--role", "platform")
    assert code == 0
    assert "365 days" in err
    secret = secret.strip()
    assert secret not in run(tmp_path, "token", "list")[1]
    engine = open_state(tmp_path)
    record = Tokens(engine).list()[0]
    later = record.created_ms + 366 * 86_400_000
    assert Tokens(engine).principal(secret) is not None
    assert Tokens(engine, now_ms=lambda: later).principal(secret) is None
    assert run(tmp_path, "token", "revoke", record.token_id)[0] == 0
    assert run(tmp_path, "token", "revoke", record.token_id)[0] == 1
    assert Tokens(engine).principal(secret) is None
    with engine.connect() as connection:
        rows = connection.execute(AUDIT.select()).all()
    assert [row.action for row in rows] == ["token.create", "token.revoke"]
    assert secret not in str(rows)
    engine.dispose()


def test_a_token_without_expiry_has_to_be_asked_for(tmp_path):
    assert "no expiry" in run(tmp_path, "token", "create", "feed", "--role", "platform", "--no-expiry")[2]
    engine = open_state(tmp_path)
    assert Tokens(engine).list()[0].expires_ms is None
    engine.dispose()
