from __future__ import annotations

import httpx
import pytest

from server.errors import SetupError
from server.links import LinkTemplates, check_template
from server.settings import Settings, check_exposure
from tests.server.running import ended, over, platform, serving, start, supervisor
from tests.server.test_alerts import one_alert

LISTEN = "https://pbx.example/listen/{call_id}?agent={agent_id}"


@pytest.mark.parametrize(
    "text",
    [
        "http://pbx.example/{call_id}",
        "javascript:alert({call_id})",
        "https://{call_id}.example/",
        "https:///{call_id}",
        "https://pbx.example/{call_id.__class__}",
        "https://pbx.example/{call_id!r}",
        "https://pbx.example/{call_id:>9}",
        "https://pbx.example/{0}",
        "https://pbx.example/{",
    ],
)
def test_a_template_that_could_lead_elsewhere_is_refused(text):
    with pytest.raises(ValueError, match="https"):
        check_template(text)
    with pytest.raises(SetupError, match="link_listen"):
        check_exposure(Settings(link_listen=text))


def test_ids_cannot_leave_their_place():
    check_template(LISTEN)
    (link,) = LinkTemplates(listen=LISTEN).fill("../../x?y=1#z", "a&b=c/日")
    assert link.href == "https://pbx.example/listen/..%2F..%2Fx%3Fy%3D1%23z?agent=a%26b%3Dc%2F%E6%97%A5"


async def test_alerts_and_calls_carry_the_houses_links_to_the_end_of_their_life(tmp_path):
    fields = {
        "link_listen": LISTEN,
        "link_takeover": "https://pbx.example/take/{call_id}",
        "public_url": "https://localhost",
    }
    running = await start(tmp_path / "data", **fields)
    async with supervisor(running) as watcher, httpx.AsyncClient(base_url=running.http) as client:
        alert = await one_alert(running)
        assert [(link["rel"], link["href"]) for link in alert["links"]] == [
            ("listen", "https://pbx.example/listen/c-1?agent="),
            ("takeover", "https://pbx.example/take/c-1"),
            ("call", "https://localhost/#/call/c-1"),
        ]
        assert (await client.get("/v1/calls/c-1")).json()["links"] == alert["links"]
        await watcher.command(type="acknowledge", alert_id=alert["alert_id"])
        assert (await client.get("/v1/alerts")).json()["alerts"][0]["links"] == alert["links"]
        async with platform(running) as peer:
            await peer.send(ended(2))
            await peer.acked(2)
        await over(running)
        await watcher.command(type="resolve", alert_id=alert["alert_id"], outcome="harassment")
        assert (await client.get("/v1/alerts?state=all")).json()["alerts"][0]["links"] == alert["links"]
    await running.stop()
    async with serving(tmp_path / "data") as again, httpx.AsyncClient(base_url=again.http) as client:
        assert (await client.get("/v1/alerts?state=all")).json()["alerts"][0]["links"] == alert["links"]
