"""`python -m hatch_mlbundle.runtime warm|verify` (model_commands.py), `machine` (machine/command.py), or `cpu` (cpu.py)."""

import sys

if sys.argv[1:2] == ["machine"]:
    from .machine.command import main as check

    sys.exit(check(sys.argv[2:]))

if sys.argv[1:2] == ["cpu"]:
    from .cpu import main as check_cpu

    sys.exit(check_cpu(sys.argv[2:]))

from .model_commands import main

sys.exit(main())
