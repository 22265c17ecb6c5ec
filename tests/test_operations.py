"""The files for those who run it: they speak of what the server really has."""

import configparser
import json
import logging
import re
import tomllib
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import kubernetes_validate
import pytest
import yaml

from server.logs import formatter
from server.settings import Settings, check_exposure
from tests.server.running import serving

FOLDER = Path(__file__).parents[1] / "docs" / "operations"
NAME = re.compile(r"\bmamori_[a-z_]+")


async def exposed(folder: Path) -> dict[str, str]:
    async with serving(folder) as running, httpx.AsyncClient() as client:
        text = (await client.get(f"{running.http}/metrics")).text
    said = re.findall(r"^# HELP (mamori_\w+) (.+)$", text, re.MULTILINE)
    return {name: meaning for name, meaning in said if not name.endswith("_created")}


async def test_every_metric_is_described_as_the_server_describes_it(tmp_path: Path):
    table = (FOLDER / "README.md").read_text().split("<!-- metrics -->")[1].split("<!-- /metrics -->")[0]
    assert dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", table, re.MULTILINE)) == await exposed(tmp_path)


@pytest.mark.parametrize("name", ["alerts.rules.yml", "grafana.json"])
async def test_rules_and_dashboard_ask_for_metrics_that_exist(name: str, tmp_path: Path):
    names = await exposed(tmp_path)
    asked = {found.removesuffix("_bucket") for found in NAME.findall((FOLDER / name).read_text())}
    assert asked
    assert asked <= set(names)


def test_rules_are_whole():
    groups = yaml.safe_load((FOLDER / "alerts.rules.yml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) > 5
    assert all(rule["annotations"]["summary"] and rule["labels"]["severity"] in {"page", "ticket"} for rule in rules)


def test_dashboard_places_its_panels_apart():
    panels = json.loads((FOLDER / "grafana.json").read_text())["panels"]
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels)
    assert all(panel["targets"] for panel in panels)


def manifest() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text()))


@pytest.mark.parametrize(
    "document", manifest(), ids=lambda document: f"{document['kind']}-{document['metadata']['name']}"
)
def test_the_manifest_is_what_kubernetes_takes(document: dict[str, Any]):
    kubernetes_validate.validate(document, "1.33", strict=True)


@pytest.mark.parametrize("role", ["worker", "gateway"])
def test_the_manifest_starts_what_the_server_takes(role: str, tmp_path: Path):
    found = {(item["kind"], item["metadata"]["name"]): item for item in manifest()}
    values = tomllib.loads(found["ConfigMap", "mamori"]["data"]["mamori.toml"])
    kind = "StatefulSet" if role == "worker" else "Deployment"
    pod = found[kind, f"mamori-{role}"]["spec"]["template"]["spec"]
    names = {item["name"].removeprefix("MAMORI_").lower() for item in pod["containers"][0]["env"]}
    key = tmp_path / "caller.key"
    key.touch(0o600)
    key.write_bytes(bytes(range(32)))
    given = {"nats": "nats://nats:4222", "database": "postgresql://u:p@postgres/mamori", "caller_key_file": key}
    assert names == set(given)
    settings = Settings(**values, **given, role=role)
    assert settings.clustered
    check_exposure(settings)
    hosts = {
        header["value"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe")
        for header in pod["containers"][0][probe]["httpGet"]["httpHeaders"]
    }
    assert hosts <= set(settings.hosts)
    assert pod["containers"][0]["args"][:3] == ["serve", "--role", role]
    assert pod["terminationGracePeriodSeconds"] > 10


def test_unit_leaves_time_to_drain():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string((FOLDER / "mamori.service").read_text())
    service = unit["Service"]
    assert int(service["TimeoutStopSec"]) > 10
    assert service["Restart"] == "always"


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_log_line_is_one_line_with_its_fields(form: str):
    record = logging.makeLogRecord(
        {"name": "mamori.runtime", "levelname": "INFO", "levelno": 20, "msg": "call\n%s", "args": ("x",), "rounds": 2,
         "queue": "請求 a\nb", "created": 0.25, "msecs": 250.0}
    )  # fmt: skip
    line = formatter(form).format(record)
    assert "1970-01-01T00:00:00.250Z" in line
    if form == "json":
        said = json.loads(line)
        assert (said["rounds"], said["queue"], said["level"], said["event"]) == (2, "請求 a\nb", "INFO", "call\nx")
        assert datetime.fromisoformat(said["time"]).year == 1970
    else:
        assert "rounds=2" in line
        assert 'queue="請求 a' in line
    assert len(line.splitlines()) == 1
