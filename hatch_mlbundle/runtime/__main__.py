"""`python -m hatch_mlbundle.runtime warm|verify` (model_commands.py), or `gpu` (gpu/command.py)."""

import sys

if sys.argv[1:2] == ["gpu"]:
    from .gpu.command import main as check

    sys.exit(check(sys.argv[2:]))

from .model_commands import main

sys.exit(main())
