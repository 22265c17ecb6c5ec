"""All formats by name: the bundled ones, and a house's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from detector.adapters import (
    amivoice,
    azure,
    contact_lens,
    deepgram,
    genesys,
    google,
    lca,
    salesforce_voice,
    transcribe,
    transcribe_analytics,
    twilio,
    vcon,
)
from detector.adapters.frame import Format
from detector.adapters.mapping import MappingError, parse_mapping

BUNDLED: Final[Mapping[str, Format]] = {
    module.FORMAT.name: module.FORMAT
    for module in (
        contact_lens,
        genesys,
        twilio,
        amivoice,
        lca,
        transcribe,
        transcribe_analytics,
        deepgram,
        google,
        azure,
        salesforce_voice,
        vcon,
    )
}


def with_mappings(sources: Iterable[str]) -> dict[str, Format]:
    """The bundled formats and those of TOML mappings.

    Raises:
        MappingError: a mapping is wrong, or takes a name that is taken.
    """
    formats = dict(BUNDLED)
    for source in sources:
        form = parse_mapping(source)
        if form.name in formats:
            raise MappingError(f"name: {form.name} is taken")
        formats[form.name] = form
    return formats
