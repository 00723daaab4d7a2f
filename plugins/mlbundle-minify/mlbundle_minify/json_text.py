"""Take the white space between the tokens of JSON out, and prove that nothing else changed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from hatch_mlbundle.errors import KeptError, UnsoundResultError

_TOKEN = re.compile(rb'("[^"\\]*(?:\\.[^"\\]*)*")|[ \t\r\n]+', re.DOTALL)
"""A string, which stays, or what RFC 8259, section 2, calls insignificant white space."""


def minified(text: bytes) -> bytes:
    """Return JSON without white space between its tokens, each as it was written: numbers to the last digit, escapes, names twice.

    Raises KeptError for what is no JSON in UTF-8 (comments, a byte-order mark), UnsoundResultError.
    """
    before = _parsed(text)
    made = _TOKEN.sub(lambda match: match[1] or b"", text)
    if _parsed(made) != before:
        raise UnsoundResultError("it holds other values")
    return made


def minified_lines(text: bytes) -> bytes:
    """Return JSON Lines, each value in a line of its own as before; raises KeptError, UnsoundResultError."""
    lines = text.split(b"\n")
    return b"\n".join(minified(line) if line.strip() else b"" for line in lines)


def _parsed(text: bytes) -> Any:
    """Return the values, each number by what stands there, each object as its pairs in order."""
    literal: Callable[[str], tuple[str, str]] = lambda written: ("number", written)  # noqa: E731
    try:
        decoder = json.JSONDecoder(
            parse_float=literal,
            parse_int=literal,
            parse_constant=literal,
            object_pairs_hook=lambda pairs: ("object", pairs),
        )
        return decoder.decode(text.decode())
    except UnicodeDecodeError as error:
        raise KeptError("it is not in UTF-8") from error
    except ValueError as error:
        raise KeptError(f"it is no JSON: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise KeptError("it is nested too deeply to be compared") from error
