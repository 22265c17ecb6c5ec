"""The formats that this server understands: the bundled ones, and the house's own from TOML files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from detector.adapters.frame import Format
from detector.adapters.mapping import MappingError, parse_mapping
from detector.adapters.registry import BUNDLED
from server.errors import SetupError
from server.files import read_text


def load_formats(paths: Iterable[Path]) -> dict[str, Format]:
    """Reads mapping files on top of the bundled formats.

    Raises:
        SetupError: a file cannot be read, is wrong, or takes a name that is taken; names file and place.
    """
    formats = dict(BUNDLED)
    for path in paths:
        try:
            form = parse_mapping(read_text(path))
        except MappingError as error:
            raise SetupError(f"{path}: {error}") from None
        if form.name in formats:
            raise SetupError(f"{path}: name: {form.name} is taken")
        formats[form.name] = form
    return formats


def pick_format(formats: dict[str, Format], name: str) -> Format:
    """A format by name.

    Raises:
        SetupError: there is none; names those that there are.
    """
    form = formats.get(name)
    if form is None:
        raise SetupError(f"format: expected one of {', '.join(formats)}")
    return form
