"""Which Python sources a package reads while it runs, for the packages of which we know."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReaders:
    """What is read of a package's sources: all below `folders` (relative to the package, "" is all of it), `files`, and each file
    that holds one of `words`; below a folder whose `__init__.py` holds one of `lazy`, everything.
    """

    why: str
    folders: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    words: tuple[bytes, ...] = ()
    lazy: tuple[bytes, ...] = ()


SOURCE_READERS: Mapping[str, SourceReaders] = {
    # torch 2.13. Found by strace on `import torch`, and by reading what calls `inspect.getsource` (torch/_sources.py, _jit_internal.py,
    # utils/_config_module.py, library.py). TorchScript parses the source of every module and function that it compiles: those of
    # `torch.nn` and what they call are compiled with a user's own.
    "torch": SourceReaders(
        why="torch parses it: TorchScript, overloads, configuration modules or kernels",
        folders=("nn", "jit", "_decomp", "ao/nn", "_refs", "distributions", "_native"),
        files=("__init__.py", "functional.py", "_jit_internal.py", "_tensor.py", "_lowrank.py", "_linalg_utils.py", "cuda/__init__.py"),
        words=(
            b"install_config_module(",
            b"_overload",
            b"boolean_dispatch",
            b"jit.script",
            b"jit.ignore",
            b"jit.unused",
            b"jit.export",
            b"jit_method",
            b"script_if_tracing",
            b"custom_op(",
            b"torch.library.",
            b"triton_op(",
            b"triton.jit",
            b"triton_jit",
            b"onnx_impl(",
        ),
    ),
    # transformers 5.23. `define_import_structure` lists a package's folder and reads each file in it; `_can_set_attn_implementation`
    # reads the source of the model's own module.
    "transformers": SourceReaders(
        why="transformers reads the files of this folder to know what they define",
        folders=("models",),
        files=("__init__.py",),
        lazy=(b"define_import_structure(_file)",),
    ),
    # diffusers names what its modules define in its `__init__` modules, and reads no source of its own.
    "diffusers": SourceReaders(why="diffusers compiles it", words=(b"jit.script",)),
}
"""What is read, by package."""

READING = re.compile(
    rb"getsource|getsourcelines|getsourcefile|findsource|getblock|linecache|get_source|get_data|iter_modules|walk_packages|listdir|scandir"
    rb"|iterdir|\bglob\b|rglob|os\.walk|\btokenize\b|\bast\b|\btorch\b|read_text|resources"
)
"""Words in a module, of a package that is not known, by which it might read sources: its own, or through TorchScript."""
