"""The named sets of modules that an inference application does without, each with the reason and how it was proved."""

from __future__ import annotations

from collections.abc import Mapping

from .model import ModuleSet
from .tools import BUILD_TOOLS, NOTEBOOKS, TEST_RUNNERS
from .torch import COMPILERS, TORCH_EXPORT, TORCH_TRAINING
from .transformers import TRANSFORMERS_TRAINING

SETS: Mapping[str, ModuleSet] = {
    "test-runners": TEST_RUNNERS,
    "build-tools": BUILD_TOOLS,
    "notebooks": NOTEBOOKS,
    "compilers": COMPILERS,
    "torch-training": TORCH_TRAINING,
    "torch-export": TORCH_EXPORT,
    "transformers-training": TRANSFORMERS_TRAINING,
}
"""Every set by its name, but for those that depend on the models in the bundle."""
