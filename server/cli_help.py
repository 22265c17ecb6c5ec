"""How `mamori --help` lists commands, and how settings are printed."""

from __future__ import annotations

import sys

import click
import tomli_w

from server.settings import Settings


class Commands(click.Group):
    """A group whose list shows the first sentence of each command whole."""

    def summary(self, ctx: click.Context, name: str) -> str:
        """What the list says of a command."""
        command = self.get_command(ctx, name)
        return command.get_short_help_str(sys.maxsize) if command is not None else ""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.summary(ctx, name)) for name in self.list_commands(ctx)])


def settings_toml(settings: Settings) -> str:
    """Settings as a TOML file that means the same, each with its help; what is not set is a comment. Tables come last."""
    values = settings.model_dump(mode="json", exclude_none=True)
    plain: list[str] = []
    tables: list[str] = []
    for name, field in Settings.model_fields.items():
        value = values.get(name)
        said = f"# {name} is not set\n" if value is None or value == {} else tomli_w.dumps({name: value})
        (tables if isinstance(value, dict) else plain).append(f"# {field.description}\n{said}")
    return "".join([*plain, "\n", *tables])
