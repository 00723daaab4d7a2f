"""Which models a bundle has: files that are loaded together, by the folder that they lie in."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from posixpath import basename, dirname

from hatch_mlbundle.links import resolve
from hatch_mlbundle.model import Bundle, File
from hatch_mlbundle.models.external_names import unique_names
from hatch_mlbundle.models.weight_files import is_weights, weight_groups

_WHOLE = ("model_index.json", "modules.json", "saved_model.pb", "genai_config.json")
"""Tell of all below their folder: diffusers, sentence-transformers, TensorFlow's SavedModel, onnxruntime-genai."""
_SPACY = frozenset({"meta.json", "config.cfg"})
"""Both in one folder: a pipeline of spaCy, whose weights have no names of their own."""
_TOKENIZER = frozenset({"tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"})
"""Nothing but models have them."""
_CONFIGS = _TOKENIZER | {
    *("config.json", "adapter_config.json", "generation_config.json", "params.json", "model.json", "vocab.json", "vocab.txt"),
    *("vocabulary.txt", "vocabulary.json", "shared_vocabulary.txt", "shared_vocabulary.json", "source_vocabulary.txt", "merges.txt"),
}
"""Tell of the weights in their own folder: transformers, peft, Llama's own form, TensorFlow.js, CTranslate2."""
_INDEX = re.compile(r".+\.(?:safetensors|bin)\.index(?:\.[\w-]+)?\.json")
_REMOTE_CODE = re.compile(r"(?:modeling|configuration|tokenization|processing|image_processing|feature_extraction|pipeline|handler)\w*\.py")
"""Modules that lie with weights on the Hugging Face hub, to be loaded with `trust_remote_code`."""
_CODE = re.compile(r".*\.(?:py|pyw|pyc|pyd|so|dll|dylib|exe)|.*\.pyz/.*|.*\.so\.[\d.]+")
_BLOB = re.compile(r"(?:.*/)?models--[^/]+/blobs/[^/]+")
_SNAPSHOT = re.compile(r"((?:.*/)?models--[^/]+)/snapshots/[^/]+")
"""A revision in a cache of huggingface_hub: its files are links into `blobs` beside `snapshots`, where the system has links."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BundledModel:
    """A model in a bundle: a folder and all files below it, or a single file at `path`. `size` in bytes.

    Links are files here, with the content of what they lead to; one that is still a link leads out of the bundle, or nowhere. `hidden` are
    files elsewhere that nothing but the model needs: what the links of a cache lead to.
    """

    name: str
    path: str
    is_file: bool
    files: tuple[File, ...]
    hidden: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)


def find_models(bundle: Bundle) -> list[BundledModel]:
    """Return the models of a bundle, sorted by path; their names are different.

    A folder with weights and what tells how to load them (config.json, modules.json, tokenizer.json, model_index.json, ...) is one, with
    all below it; weights by themselves in a folder of code are single files. No two of them share a file.
    """
    return named(list(_Search(bundle).run()))


def folder_model(bundle: Bundle, path: str, name: str = "") -> BundledModel | None:
    """Return a folder with all below it, or a file, as a model, whatever there is in it; None where there is neither."""
    if path in bundle:
        return BundledModel(name=name, path=path, is_file=True, files=(followed(bundle, bundle[path]),))
    files = [file for each, file in bundle.items() if each.startswith(f"{path}/")]
    return _whole(bundle, path, files, name) if files else None


def named(models: Iterable[BundledModel], taken: Mapping[str, str] | None = None) -> list[BundledModel]:
    """Return the models sorted by path, those without a name with one of their own; `taken` are names by the paths that have them."""
    ordered = sorted(models, key=lambda model: model.path)
    names = unique_names([(model.path, model.name) for model in ordered], taken or {})
    return [replace(model, name=name) for model, name in zip(ordered, names, strict=True)]


def followed(bundle: Bundle, file: File) -> File:
    """Return what a file is read as: a link with the content of what it leads to, itself where that is no file of the bundle."""
    end = resolve(bundle, file.path) if file.link is not None else None
    return replace(end, path=file.path) if end else file


class _Search:
    """The folders of a bundle, from the top: the first that is a model has all below it."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._files: defaultdict[str, list[File]] = defaultdict(list)
        self._below: defaultdict[str, list[str]] = defaultdict(list)
        self._coded: set[str] = set()
        self._groups: dict[str, list[list[File]]] = {}
        seen: set[str] = {""}
        for path, file in sorted(bundle.items()):
            self._files[dirname(path)].append(file)
            if _CODE.fullmatch(path) and not _REMOTE_CODE.fullmatch(basename(path)):
                self._mark(dirname(path), self._coded)
            for folder in _above(path):
                if folder in seen:  # and all above it
                    break
                seen.add(folder)
                self._below[dirname(folder)].append(folder)

    def run(self) -> Iterator[BundledModel]:
        """Yield the models, without names."""
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            if folder and self._is_model(folder):
                yield _whole(self._bundle, folder, list(self._all(folder)))
            else:
                yield from self._loose(folder)
                waiting += self._below[folder]

    def _mark(self, folder: str, marked: set[str]) -> None:
        while folder not in marked:
            marked.add(folder)
            folder = dirname(folder)

    def _is_model(self, folder: str) -> bool:
        names = {basename(file.path) for file in self._files[folder]}
        if _SNAPSHOT.fullmatch(folder):
            return bool(names or self._below[folder])
        if folder in self._coded or folder.endswith((".dist-info", ".egg-info")):
            return False
        if names >= _SPACY:
            return True
        if not names.isdisjoint(_WHOLE):
            return any(is_weights(file) for file in self._resolved(self._all(folder)))
        groups = self._grouped(folder)
        if not names.isdisjoint(_CONFIGS) or any(map(_INDEX.fullmatch, names)):
            return bool(groups) or not names.isdisjoint(_TOKENIZER)
        return len(groups) == 1 and len(groups[0]) > 1 and not self._below[folder]

    def _loose(self, folder: str) -> Iterator[BundledModel]:
        """Yield the weights of a folder that are loaded by themselves: what goes with no other file."""
        for group in self._grouped(folder):
            if len(group) == 1 and not _is_blob(group[0].path):
                yield BundledModel(name="", path=group[0].path, is_file=True, files=(group[0],))

    def _grouped(self, folder: str) -> list[list[File]]:
        """Return the weights of a folder as `weight_groups` does; they are looked at once."""
        if folder not in self._groups:
            self._groups[folder] = weight_groups(self._resolved(self._files[folder]))
        return self._groups[folder]

    def _all(self, folder: str) -> Iterator[File]:
        waiting = [folder]
        while waiting:
            inner = waiting.pop()
            yield from self._files[inner]
            waiting += self._below[inner]

    def _resolved(self, files: Iterable[File]) -> list[File]:
        return [followed(self._bundle, file) for file in files]


def _whole(bundle: Bundle, folder: str, files: Sequence[File], name: str = "") -> BundledModel:
    ordered = sorted(files, key=lambda file: file.path)
    return BundledModel(
        name=name,
        path=folder,
        is_file=False,
        files=tuple(followed(bundle, file) for file in ordered),
        hidden=tuple(_blobs(bundle, folder, ordered)),
    )


def _blobs(bundle: Bundle, folder: str, files: Iterable[File]) -> Iterator[str]:
    """Yield what the links of a snapshot lead to in its cache, but for what another snapshot's lead to as well."""
    match = _SNAPSHOT.fullmatch(folder)
    if match is None:
        return
    others = f"{match[1]}/snapshots/"
    used = {end.path for path in bundle if path.startswith(others) and not path.startswith(f"{folder}/") if (end := resolve(bundle, path))}
    ends = (resolve(bundle, file.path) for file in files if file.link is not None)
    found = {end.path for end in ends if end and end.path.startswith(f"{match[1]}/blobs/")}
    yield from sorted(found - used)


def _is_blob(path: str) -> bool:
    return _BLOB.fullmatch(path) is not None


def _above(path: str) -> Iterator[str]:
    while path := dirname(path):
        yield path
