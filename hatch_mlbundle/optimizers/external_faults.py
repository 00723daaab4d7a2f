"""What is wrong with the options of `externalize`: told before any work."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from hatch_mlbundle.models.external_names import is_name, key_of
from hatch_mlbundle.optimizers.external_options import ExternalizeOptions

_SCHEMES = ("https", "http", "file", "hf", "s3", "oci")
_FOLDERS = ("hf", "oci")
"""Schemes whose URLs need no `/` at their end to be a folder's."""
_URL = re.compile(r"([a-z0-9]+)://\S+")
_PLACEHOLDER = re.compile(r"\{[^}]*\}")


def option_faults(options: ExternalizeOptions, path: str) -> list[str]:
    """Return a line for each fault, with the TOML path of what is wrong; `path` is that of the options' table."""
    return [*_mode_faults(options, path), *_model_faults(options, path), *_source_faults(options.sources, f"{path}.sources")]


def _mode_faults(options: ExternalizeOptions, path: str) -> Iterator[str]:
    modes = {options.mode, *(model.mode for model in options.model)}
    given = any(model.sources for model in options.model)
    if options.mode == "download" and not options.sources and not given:
        yield f'{path}.mode: "download" needs `sources` to download from; name some'
    if not options.keep and "beside" in modes:
        yield f"{path}.keep: models that are to lie beside the artifact must be written there; leave it out, or choose another mode"
    if options.mount and not re.match(r"/|[A-Za-z]:[\\/]|\\\\", options.mount):
        yield f"{path}.mount: must be an absolute path, not {options.mount!r}"


def _model_faults(options: ExternalizeOptions, path: str) -> Iterator[str]:
    names: set[str] = set()
    for number, model in enumerate(options.model):
        place = f"{path}.model[{number}]"
        if not model.path.strip("/"):
            yield f"{place}.path: is needed: the folder or file of the model, or a glob"
        if model.name and not is_name(model.name):
            yield f"{place}.name: must be at most 80 letters, digits, `.`, `_` and `-`, and not end with `.tar`, not {model.name!r}"
        elif model.name and key_of(model.name) in names:
            yield f"{place}.name: {model.name!r} is that of another model, or the same in an environment variable's name"
        names.add(key_of(model.name))
        if model.mode == "download" and not (model.sources or options.sources):
            yield f'{place}.mode: "download" needs `sources` to download from; name some'
        yield from _source_faults(model.sources, f"{place}.sources")


def _source_faults(sources: Sequence[str], path: str) -> Iterator[str]:
    for number, source in enumerate(sources):
        match = _URL.fullmatch(source)
        if match is None or match[1] not in _SCHEMES:
            yield f"{path}[{number}]: must be a URL that begins with one of {', '.join(f'{each}://' for each in _SCHEMES)}, not {source!r}"
        elif strange := next((each for each in _PLACEHOLDER.findall(source) if each not in ("{name}", "{digest}")), None):
            yield f"{path}[{number}]: {strange} stands for nothing; there are {{name}} and {{digest}}"
        elif match[1] not in _FOLDERS and not source.endswith(("/", ".tar")):
            yield f'{path}[{number}]: must end with "/", as a folder does, or with ".tar", as an archive does, not {source!r}'
