from __future__ import annotations

import asyncio
import datetime
import ssl

import httpx
import pytest
import uvicorn
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from server.app import create_app
from server.cli import main
from server.errors import SetupError
from server.settings import Settings, check_exposure
from tests.server.running import ScriptedScorer

OUT = {"host": "0.0.0.0", "auth": True}
OIDC = {
    "auth": True,
    "oidc_issuer": "https://id.example",
    "oidc_client_id": "mamori",
    "public_url": "https://mamori.example",
    "oidc_groups": {"g": {"role": "lead"}},
}


def certificate(folder):
    """A certificate for localhost, signed by its own key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_path, key_path = folder / "cert.pem", folder / "key.pem"
    cert_path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    key_path.write_bytes(key.private_bytes(*pem))
    key_path.chmod(0o600)
    return cert_path, key_path


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"host": "0.0.0.0"}, "authentication"),
        (OUT, "TLS"),
        ({**OUT, "trusted_proxies": ["*"]}, "star"),
        ({**OUT, "trusted_proxies": ["10.0.0.1"], "hosts": ["*"]}, "star"),
        ({"tls_cert": "cert.pem"}, "tls_key"),
        ({"tls_cert": "cert.pem", "tls_key": "/nowhere/key.pem"}, "No such file"),
        ({**OIDC, "auth": False}, "--auth"),
        ({**OIDC, "oidc_groups": {}}, "oidc_groups"),
        ({**OIDC, "public_url": ""}, "public_url"),
        ({**OIDC, "public_url": "http://mamori.example"}, "https"),
        ({**OIDC, "oidc_issuer": "http://id.example"}, "https"),
        ({**OIDC, "oidc_scopes": "profile"}, "openid"),
        ({**OIDC, "oidc_client_secret_file": "/nowhere/secret"}, "No such file"),
    ],
)
def test_a_weak_set_up_is_refused_and_the_field_is_named(fields, message):
    with pytest.raises(SetupError, match=message):
        check_exposure(Settings(**fields))


def test_secrets_that_are_short_or_open_to_others_are_refused(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("short")
    secret.chmod(0o600)
    settings = Settings(**OIDC, oidc_client_secret_file=secret)
    with pytest.raises(SetupError, match="at least 32 bytes"):
        check_exposure(settings)
    secret.write_text("x" * 40)
    check_exposure(settings)
    secret.chmod(0o644)
    with pytest.raises(SetupError, match="readable by others"):
        check_exposure(settings)


@pytest.mark.parametrize("fields", [{}, {**OUT, "trusted_proxies": ["10.0.0.1"]}, OIDC])
def test_a_sound_set_up_is_taken(fields):
    check_exposure(Settings(**fields))


def test_tls_alone_makes_the_outside_reachable(tmp_path):
    cert, key = certificate(tmp_path)
    check_exposure(Settings(**OUT, tls_cert=cert, tls_key=key))


def test_serve_says_why_it_refuses(tmp_path):
    result = CliRunner().invoke(main, ["serve", "--auth", "--host", "0.0.0.0", "--data-dir", str(tmp_path)])
    assert result.exit_code == 1
    assert "only over TLS" in result.stderr


async def test_over_tls_the_cookie_is_secure_and_bound_to_the_host(tmp_path):
    cert, key = certificate(tmp_path)
    settings = Settings(data_dir=tmp_path / "data", auth=True, tls_cert=cert, tls_key=key)
    app = create_app(settings, scorer=ScriptedScorer())
    password = "horse battery staple"
    result = CliRunner().invoke(
        main,
        ["user", "add", "hanako", "--role", "lead", "--password-stdin", "--data-dir", str(settings.data_dir)],
        input=password + "\n",
    )
    assert result.exit_code == 0, result.output
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, ws="websockets-sansio", log_level="error", ssl_certfile=cert, ssl_keyfile=key
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None
    task = asyncio.create_task(server.serve())
    while not server.started:
        assert not task.done()
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    context = ssl.create_default_context(cafile=str(cert))
    async with httpx.AsyncClient(base_url=f"https://localhost:{port}", verify=context) as client:
        answer = await client.post("/v1/session", json={"name": "hanako", "password": password})
        assert answer.headers["set-cookie"].startswith("__Host-mamori=")
        assert "Secure" in answer.headers["set-cookie"]
        assert (await client.get("/v1/alerts")).status_code == 200
    server.should_exit = True
    await task
