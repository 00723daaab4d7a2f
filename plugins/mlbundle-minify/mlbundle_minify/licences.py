"""Which comments say who may do what with a file: those stay."""

from __future__ import annotations

import re

LICENCE = re.compile(
    rb"@licen[cs]e|@preserve|@cc_on|copyright|licen[cs]e|SPDX|\(c\)|\xc2\xa9|warrant|permission|redistribut|all rights reserved",
    re.IGNORECASE,
)
"""Words of a licence, or of a copyright; and the marks by which JavaScript's own tools know a comment that stays."""
