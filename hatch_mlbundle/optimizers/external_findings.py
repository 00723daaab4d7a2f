"""Does an application whose models left look for them where they now are?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress

from hatch_mlbundle.bundles.scripts import entry_scripts
from hatch_mlbundle.errors import MlbundleError
from hatch_mlbundle.importpaths import installed
from hatch_mlbundle.model import Bundle, File, Finding, Kind
from hatch_mlbundle.optimizer import ArtifactKind
from hatch_mlbundle.optimizers.vendored_runtime import PACKAGE

_OURS = re.compile(rf"(?:.*/)?(?:hatch_mlbundle|{PACKAGE})/.*")
_ASKED = (b"model_path", b"mlbundle")
"""Both are in code that imports `model_path` from the runtime, be it source or compiled."""
_REQUIRED = re.compile(rb"^Requires-Dist:\s*hatch[-_.]mlbundle\b", re.IGNORECASE | re.MULTILINE)


def usage_findings(bundle: Bundle, kind: ArtifactKind, *, vendored: bool) -> Iterator[Finding]:
    """Yield what would keep an application from finding its models; of an image, whose code is not read, nothing is said."""
    if kind == "image":
        return
    if not any(map(_asks, _code(bundle))):
        message = (
            "no code of the bundle asks for a model by hatch_mlbundle.runtime.models.model_path; an application that loads it from its old "
            "place will not find it"
        )
        yield Finding(code="MB903", message=message)
    if kind == "wheel" and not vendored and not _requires_us(bundle):
        message = "the wheel neither depends on hatch-mlbundle nor brings the runtime along; add it to `dependencies`, or set vendor = true"
        yield Finding(code="MB904", message=message)


def _code(bundle: Bundle) -> Iterator[File]:
    """Yield the code of a bundle, what is most likely the application's own first: scripts, then the smaller packages."""
    with suppress(MlbundleError):  # a damaged executable is told of where it is written
        yield from entry_scripts(bundle)
    code = [file for path, file in bundle.items() if file.kind in (Kind.PYTHON, Kind.BYTECODE) and not _OURS.fullmatch(installed(path))]
    yield from sorted(code, key=lambda file: (installed(file.path).count("/"), file.path))


def _asks(file: File) -> bool:
    data = file.read()
    return all(word in data for word in _ASKED)


def _requires_us(bundle: Bundle) -> bool:
    metadata = [file for path, file in bundle.items() if re.fullmatch(r"[^/]+\.dist-info/METADATA", path)]
    return any(_REQUIRED.search(file.read()) for file in metadata)
