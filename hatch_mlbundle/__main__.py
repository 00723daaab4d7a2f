"""`python -m hatch_mlbundle` is `mlbundle`."""

from __future__ import annotations

import sys

from .cli import main

sys.exit(main())
