"""`python -m hatch_mlbundle.runtime warm|verify` (model_commands.py)."""

import sys

from .model_commands import main

sys.exit(main())
