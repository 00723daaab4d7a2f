"""The moment that stands for "now" in whatever is built: the same each time."""

from __future__ import annotations

import os

from .errors import ConfigurationError

HATCHLING_EPOCH = 1580601600
"""What hatchling writes where nothing else is said: 2020-02-02 00:00:00 UTC, in seconds since 1970."""


def stated_epoch() -> int | None:
    """Return SOURCE_DATE_EPOCH (reproducible-builds.org) in seconds since 1970, None where it is not set.

    Raises ConfigurationError where it is no whole number.
    """
    text = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        return int(text) if text else None
    except ValueError:
        raise ConfigurationError([f"SOURCE_DATE_EPOCH is {text!r}; it must be a whole number of seconds since 1970"]) from None


def source_date_epoch() -> int:
    """Return the timestamp of what is added: SOURCE_DATE_EPOCH, else the one hatchling uses, in seconds since 1970.

    Raises ConfigurationError where it is no whole number.
    """
    stated = stated_epoch()
    return HATCHLING_EPOCH if stated is None else stated
