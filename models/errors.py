"""What can go wrong in this package.

ModelError
├── ModelFilesError      the files of a model are missing, foreign or damaged (the operator's fault)
├── LexiconError         a lexicon entry is not valid (the house's fault)
├── ItemError            one item of a classify request is not valid (the caller's fault)
├── CorpusError          a corpus file breaks its schema (the writer's fault)
└── EngineClosedError    the engine no longer takes work (our own shutdown)
"""

from __future__ import annotations


class ModelError(Exception):
    """Base of the package's errors."""


class ModelFilesError(ModelError):
    """The files of a model are missing, foreign or damaged."""


class LexiconError(ModelError):
    """A lexicon entry is not valid."""


class CorpusError(ModelError):
    """A corpus file breaks its schema."""


class EngineClosedError(ModelError):
    """The engine no longer takes work."""


class ItemError(ModelError):
    """One item of a classify request is not valid.

    Args:
        code: stable name of the fault: `bad_item`, `empty_text`, `too_long`, `unsupported_language`.
        field: the field at fault, or empty.
        message: for a reader.
    """

    def __init__(self, *, code: str, field: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.field = field
