"""Register the optimizers and inspectors that come with us, through the hooks that third parties use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hatch_mlbundle.contents.builtin import INSPECTORS
from hatch_mlbundle.contents.inspector import Inspector
from hatch_mlbundle.hookspecs import hookimpl
from hatch_mlbundle.optimizer import Optimizer
from hatch_mlbundle.optimizers.cpu_code import CpuCode
from hatch_mlbundle.optimizers.deduplicate import Deduplicate
from hatch_mlbundle.optimizers.exclude import Exclude
from hatch_mlbundle.optimizers.exclude_modules import ExcludeModules
from hatch_mlbundle.optimizers.externalize import Externalize
from hatch_mlbundle.optimizers.gpu_code import GpuCode
from hatch_mlbundle.optimizers.pack_weights import PackWeights
from hatch_mlbundle.optimizers.prune_unused import PruneUnused
from hatch_mlbundle.optimizers.python_sources import PythonSources
from hatch_mlbundle.optimizers.quantize import Quantize
from hatch_mlbundle.optimizers.strip import Strip
from hatch_mlbundle.optimizers.test_data import TestData
from hatch_mlbundle.optimizers.torch_files import TorchFiles
from hatch_mlbundle.optimizers.unused_libraries import UnusedLibraries
from hatch_mlbundle.optimizers.upx import Upx


@hookimpl
def mlbundle_register_optimizers() -> Iterable[type[Optimizer[Any]]]:
    """Return our own optimizers."""
    return [
        TestData,
        Exclude,
        ExcludeModules,
        PythonSources,
        CpuCode,
        Strip,
        GpuCode,
        UnusedLibraries,
        PruneUnused,
        Deduplicate,
        Upx,
        TorchFiles,
        PackWeights,
        Quantize,
        Externalize,
    ]


@hookimpl
def mlbundle_register_inspectors() -> Iterable[type[Inspector]]:
    """Return our own inspectors."""
    return INSPECTORS
