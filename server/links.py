"""Links of the house: where a supervisor listens in or takes over, and the call's page in the console."""

from __future__ import annotations

from dataclasses import dataclass
from string import Formatter
from typing import Final
from urllib.parse import quote, urlsplit

from detector.alerts import Link

PLACES: Final = ("call_id", "agent_id")
"""What a template may name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkTemplates:
    """Templates with `{call_id}` and `{agent_id}`; an empty one gives no link.

    Args:
        listen, takeover: https addresses.
        console: address of the console as browsers reach it.
    """

    listen: str = ""
    takeover: str = ""
    console: str = ""

    def fill(self, call_id: str, agent_id: str) -> tuple[Link, ...]:
        """The links of one call; what is filled in is quoted, so it cannot lead elsewhere."""
        values = {"{call_id}": quote(call_id, safe=""), "{agent_id}": quote(agent_id, safe="")}
        links = []
        for rel, template in (("listen", self.listen), ("takeover", self.takeover), ("call", self._page)):
            href = template
            for name, value in values.items():
                href = href.replace(name, value)
            if href.startswith("https://"):
                links.append(Link(rel=rel, href=href))
        return tuple(links)

    @property
    def _page(self) -> str:
        return f"{self.console.rstrip('/')}/#/call/{{call_id}}" if self.console else ""


def check_template(text: str) -> None:
    """Checks a template.

    Raises:
        ValueError: says what was expected.
    """
    expected = "expected an https address whose only places are {call_id} and {agent_id}, behind the host"
    try:
        named = [(name, spec, conversion) for _, name, spec, conversion in Formatter().parse(text) if name is not None]
    except ValueError:
        raise ValueError(expected) from None
    parts = urlsplit(text)
    plain = all(name in PLACES and not spec and not conversion for name, spec, conversion in named)
    if not plain or parts.scheme != "https" or not parts.hostname or "{" in parts.netloc:
        raise ValueError(expected)
