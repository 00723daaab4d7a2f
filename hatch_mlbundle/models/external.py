"""Which models a bundle has: files that are loaded together, by the folder that they lie in."""

from __future__ import annotations

from dataclasses import dataclass

from hatch_mlbundle.model import Bundle, File


@dataclass(frozen=True, slots=True, kw_only=True)
class BundledModel:
    """A model in a bundle: a folder and all files below it, or a single file at `path`. `size` in bytes."""

    name: str
    path: str
    is_file: bool
    files: tuple[File, ...]

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)


def find_models(bundle: Bundle) -> list[BundledModel]:
    """Return the models of a bundle, sorted by path; their names are different.

    A folder with weights and what tells how to load them (config.json, modules.json, tokenizer.json, model_index.json, ...) is one, with
    all below it; weights by themselves in a folder of code are single files. No two of them share a file.
    """
    raise NotImplementedError
