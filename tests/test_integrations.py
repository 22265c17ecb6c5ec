from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from detector.adapters.mapping import parse_mapping
from detector.adapters.registry import BUNDLED

PAGES = Path(__file__).parent.parent / "docs" / "integrations"


@pytest.mark.parametrize("name", BUNDLED)
def test_each_format_has_a_page_that_begins_with_masking(name):
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == [
        "First: switch masking off",
        "Connect",
        "Who speaks",
        "What is verified, what is assumed",
    ]
    assert f"`{name}`" in text
    assert "Verified: " in text
    assert "Assumed: " in text
    assert f"({name}.md)" in (PAGES / "README.md").read_text(encoding="utf-8")


def test_the_page_on_mappings_shows_one_that_works():
    text = (PAGES / "mapping.md").read_text(encoding="utf-8")
    written = text.split("```toml")[1].split("```")[0]
    assert tomllib.loads(written)["name"] == parse_mapping(written).name == "acme"
