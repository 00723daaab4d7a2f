"""The inspectors that come with us."""

from __future__ import annotations

from hatch_mlbundle.contents.binaries import ElfInspector, MachoInspector, PeInspector
from hatch_mlbundle.contents.inspector import Inspector
from hatch_mlbundle.contents.models import GgufInspector, PackedInspector, SafetensorsInspector, TorchInspector

INSPECTORS: tuple[type[Inspector], ...] = (
    ElfInspector,
    PeInspector,
    MachoInspector,
    SafetensorsInspector,
    PackedInspector,
    TorchInspector,
    GgufInspector,
)
