"""All that a plugin imports, in one place: what stands in `__all__` stays as it is until the next major version.

Whatever else the package holds may change with any release. docs/hookspecs.md describes each name.
"""

from __future__ import annotations

from .accuracy.evaluator import Array, Evaluator, Outputs, Samples, unbatched
from .contents.inspector import HEADERS, OTHER, PADDING, Extent, Inside, Inspector
from .errors import (
    AccuracyError,
    BinaryError,
    ConfigurationError,
    KeptError,
    MissingLibraryError,
    MissingProgramError,
    MlbundleError,
    ModelError,
    ProgramError,
    UnsoundResultError,
)
from .globs import matcher
from .hookspecs import hookimpl
from .libraries import library_versions
from .model import (
    CHUNK,
    Add,
    Bundle,
    Change,
    Content,
    Convert,
    DiskContent,
    Drop,
    File,
    Finding,
    Keep,
    Kind,
    Link,
    MemoryContent,
    Rewrite,
)
from .optimizer import (
    EVERY_KIND,
    ArtifactKind,
    Context,
    ConvertTask,
    Detail,
    Json,
    Judge,
    Measured,
    Optimizer,
    Options,
    Risk,
    SearchBy,
    Task,
    option,
)
from .programs import Program, find_program, look_for_program
from .schema import Glob, Size
from .units import format_size

__all__ = [
    "CHUNK",
    "EVERY_KIND",
    "HEADERS",
    "OTHER",
    "PADDING",
    "AccuracyError",
    "Add",
    "Array",
    "ArtifactKind",
    "BinaryError",
    "Bundle",
    "Change",
    "ConfigurationError",
    "Content",
    "Context",
    "Convert",
    "ConvertTask",
    "Detail",
    "DiskContent",
    "Drop",
    "Evaluator",
    "Extent",
    "File",
    "Finding",
    "Glob",
    "Inside",
    "Inspector",
    "Json",
    "Judge",
    "Keep",
    "KeptError",
    "Kind",
    "Link",
    "Measured",
    "MemoryContent",
    "MissingLibraryError",
    "MissingProgramError",
    "MlbundleError",
    "ModelError",
    "Optimizer",
    "Options",
    "Outputs",
    "Program",
    "ProgramError",
    "Rewrite",
    "Risk",
    "Samples",
    "SearchBy",
    "Size",
    "Task",
    "UnsoundResultError",
    "find_program",
    "format_size",
    "hookimpl",
    "library_versions",
    "look_for_program",
    "matcher",
    "option",
    "unbatched",
]
