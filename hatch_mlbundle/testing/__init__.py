"""A kit for authors of optimizers: make a bundle, run an optimizer over it as a build does, and try the laws that all of them keep.

```python
from hatch_mlbundle.testing import assert_laws, run

FILES = {"pkg/app.js": "run()", "pkg/app.js.map": "{}"}


def test_maps_are_dropped():
    assert run(SourceMaps, FILES).changed == {"pkg/app.js.map": "only a debugger in a browser reads source maps"}


def test_laws():
    assert_laws(SourceMaps, FILES)
```

It needs no pytest; with pytest, fixtures give the same (hatch_mlbundle/pytest_plugin.py). docs/writing-an-optimizer.md has more.
"""

from hatch_mlbundle.testing.given import Files, Given, bundle_from, folder_from, wheel_from
from hatch_mlbundle.testing.hostile import hostile_variants
from hatch_mlbundle.testing.law import LAWS, BrokenLawError, Equivalent, Law, assert_laws
from hatch_mlbundle.testing.laws import (
    assert_cacheable,
    assert_deterministic,
    assert_documented,
    assert_honest,
    assert_idempotent,
    assert_never_larger,
    assert_parallel,
    assert_safe,
    assert_selective,
)
from hatch_mlbundle.testing.running import Run, Source, Table, optimize, run
from hatch_mlbundle.testing.watching import Misdeed

__all__ = [
    "LAWS",
    "BrokenLawError",
    "Equivalent",
    "Files",
    "Given",
    "Law",
    "Misdeed",
    "Run",
    "Source",
    "Table",
    "assert_cacheable",
    "assert_deterministic",
    "assert_documented",
    "assert_honest",
    "assert_idempotent",
    "assert_laws",
    "assert_never_larger",
    "assert_parallel",
    "assert_safe",
    "assert_selective",
    "bundle_from",
    "folder_from",
    "hostile_variants",
    "optimize",
    "run",
    "wheel_from",
]
