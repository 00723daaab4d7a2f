"""Python blocks of the documentation, run."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from tests.docs.snippets import Snippet

OFFERS = "mlbundle_register_optimizers"


def names_of(snippet: Snippet, **given: Any) -> dict[str, Any]:
    """Run a block and return the names that it leaves; `given` are those that the program around it has.

    It runs as a module of its own, which stays: dataclasses ask for their module by its name, and no test elsewhere must find it.
    """
    module = ModuleType(f"snippet {snippet}")
    sys.modules[module.__name__] = module
    vars(module).update({"__file__": "snippet.py", **given})
    exec(compile(snippet.text, str(snippet), "exec"), vars(module))
    return vars(module)
