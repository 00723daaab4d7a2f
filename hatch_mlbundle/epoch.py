"""The moment that stands for "now" in whatever is built: the same each time."""

from __future__ import annotations

import os

from .errors import ConfigurationError

HATCHLING_EPOCH = 1580601600
"""What hatchling writes where nothing else is said: 2020-02-02 00:00:00 UTC, in seconds since 1970."""


def source_date_epoch() -> int:
    """Return the timestamp of what is added: SOURCE_DATE_EPOCH (reproducible-builds.org), else the one hatchling uses.

    In seconds since 1970; raises ConfigurationError where it is no whole number.
    """
    text = os.environ.get("SOURCE_DATE_EPOCH") or str(HATCHLING_EPOCH)
    try:
        return int(text)
    except ValueError:
        raise ConfigurationError([f"SOURCE_DATE_EPOCH is {text!r}; it must be a whole number of seconds since 1970"]) from None
