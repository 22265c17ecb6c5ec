from __future__ import annotations

from pathlib import Path

from server.settings import Settings

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_settings_table_is_that_of_the_code():
    table = README.split("<!-- settings -->")[1].split("<!-- /settings -->")[0]
    for name, field in Settings.model_fields.items():
        assert f"| `{name}` |" in table, name
        assert str(field.description) in table, name
    assert table.count("| `") == len(Settings.model_fields)


def test_the_client_example_is_under_thirty_lines():
    example = README.split("```python")[1].split("```")[0]
    assert len(example.strip().splitlines()) < 30
