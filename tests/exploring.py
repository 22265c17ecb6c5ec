"""How much Hypothesis tries: the same examples every time in the suite, ever new and many more in `make explore`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final

from hypothesis import HealthCheck, settings

EXPLORING: Final = os.environ.get("MAMORI_LONG", "") != ""
FACTOR: Final = 20


def load_profile() -> None:
    """A failure prints its blob: `@reproduce_failure` repeats it anywhere. How busy the machine is proves nothing."""
    common: dict[str, Any] = {
        "print_blob": True,
        "deadline": None,
        "suppress_health_check": [HealthCheck.too_slow],
    }
    settings.register_profile("suite", derandomize=True, **common)
    settings.register_profile("explore", **common)
    settings.load_profile("explore" if EXPLORING else "suite")


def tries(count: int, *, suppress_health_check: Sequence[HealthCheck] = (), **fields: Any) -> settings:
    """`count` examples, or many times as many when exploring."""
    return settings(
        max_examples=count * FACTOR if EXPLORING else count,
        suppress_health_check=[HealthCheck.too_slow, *suppress_health_check],
        **fields,
    )
