"""Which model families of transformers the models in a bundle belong to, by their own configuration files.

transformers keeps each family in a folder of `transformers/models`; a model's `config.json` names it by `model_type`
(`PreTrainedConfig.model_type`), and the models that it is made of by the `model_type` of nested tables.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from posixpath import basename

from hatch_mlbundle.frozenmodules import FrozenModules
from hatch_mlbundle.importtime import Needs
from hatch_mlbundle.model import Bundle, File, Finding, Kind
from hatch_mlbundle.optimizer import Context, Json

MODELS = "transformers.models"
_ALWAYS = frozenset({"auto"})
"""Families that every application has: what finds the others."""
_CONFIGURATIONS = frozenset(
    {"config.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json"}
)
_CLASS_KEYS = frozenset({"tokenizer_class", "processor_class", "image_processor_type", "feature_extractor_type", "video_processor_type"})
_LARGEST = 1 << 24
"""Bytes of a configuration file that is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the models of a bundle need: values of `model_type`, and names of classes of tokenizers and processors, each with the file
    that names it.
    """

    types: Mapping[str, str]
    classes: Mapping[str, str]


def families_of(modules: FrozenModules) -> list[str]:
    """Return the names of the model families in a bundle."""
    depth = MODELS.count(".") + 1
    return sorted({name.split(".")[depth] for name in modules.files if name.startswith(f"{MODELS}.")} - _ALWAYS)


def wanted_models(bundle: Bundle, context: Context) -> Wanted:
    """Return what the configuration files of a bundle's models name."""
    files = [file for path, file in sorted(bundle.items()) if basename(path) in _CONFIGURATIONS and file.size <= _LARGEST]
    types: dict[str, str] = {}
    classes: dict[str, str] = {}
    for path, (type_names, class_names) in context.examine("models", files, examine_configuration).items():
        types |= dict.fromkeys((name for name in type_names if name not in types), path)
        classes |= dict.fromkeys((name for name in class_names if name not in classes), path)
    return Wanted(types=types, classes=classes)


def examine_configuration(file: File) -> Json:
    """Return, as JSON, the values of `model_type` and the names of classes in a model's configuration file, wherever they stand."""
    try:
        found = list(_entries(json.loads(file.read())))
    except (ValueError, RecursionError):
        return [[], []]
    types = {value for key, value in found if key == "model_type"}
    return [sorted(types), sorted({value for key, value in found if key in _CLASS_KEYS})]


def _entries(value: Json) -> Iterator[tuple[str, str]]:
    if isinstance(value, list):
        for each in value:
            yield from _entries(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            if isinstance(each, str):
                yield key, each
            else:
                yield from _entries(each)


def unneeded_models(
    bundle: Bundle,
    modules: FrozenModules,
    named: Collection[str],
    own: Mapping[str, Needs],
    staying: Iterable[tuple[str, str, Needs]],
    context: Context,
) -> dict[str, str]:
    """Return why each module of a model family goes: all but the `__init__` modules, which transformers imports while it searches.

    `named` are families to keep, `own` what the application's own modules import, `staying` the modules that stay. Where
    nothing tells which families are needed none goes, and a finding says so.
    """
    families = families_of(modules)
    if not families:
        return {}
    for name in sorted(set(named) - set(families)):
        context.report(
            Finding(code="MB314", message=f"no model family is called {name!r}, which `families` names; correct it, or take it out")
        )
    wanted = wanted_models(bundle, context)
    needed, unknown = needed_families(wanted, bundle, modules, context)
    needed |= dict.fromkeys(named, "`families` names it")
    needed |= _imported(own, families)
    needed |= _named_elsewhere(staying, families)
    if not named and (unknown or not needed):
        context.report(Finding(code="MB313", message=_why_all_stay(unknown, len(families))))
        return {}
    reason = "set 'transformers-models': no model in the bundle is of the family"
    packages = {f"{MODELS}.{family}" for family in families}
    return {
        name: f"{reason} {name.split('.')[2]!r}"
        for name in modules.files
        if name.startswith(f"{MODELS}.") and name not in packages and name.split(".")[2] not in (*needed, *_ALWAYS)
    }


def _why_all_stay(unknown: Mapping[str, str], count: int) -> str:
    name, path = next(iter(unknown.items()), ("", ""))
    why = (
        f"{path} names the model type {name!r}, of which no family is there"
        if unknown
        else "no config.json in the bundle names a model type"
    )
    return f'all {count} model families of transformers stay, because {why}; name those that the application needs: `families = ["bert"]`'


def _imported(own: Mapping[str, Needs], families: list[str]) -> dict[str, str]:
    """Return the families of the models that the application's own modules import by name."""
    found: dict[str, str] = {}
    for path, needs in sorted(own.items()):
        for level, module, names in (*needs.first, *needs.later):
            if level or module.partition(".")[0] != "transformers":
                continue
            parts = module.split(".")
            below = [parts[2]] if module.startswith(f"{MODELS}.") else list(names) if module == MODELS else []
            by_class = [family for family in families for name in names if _is_of(name, family)] if module == "transformers" else []
            for family in (*below, *by_class):
                found.setdefault(family, f"{path} imports it")
    return found


def _named_elsewhere(staying: Iterable[tuple[str, str, Needs]], families: list[str]) -> dict[str, str]:
    """Return the families of the models that other packages import from transformers by their names."""
    found: dict[str, str] = {}
    for name, path, needs in staying:
        if name.partition(".")[0] == "transformers":
            continue
        rows = (*needs.first, *needs.later)
        names = sorted({each for level, module, imported in rows if not level and module == "transformers" for each in imported})
        for family in (family for each in names for family in families if _is_of(each, family)):
            found.setdefault(family, f"{path} imports it")
    return found


def _is_of(class_name: str, family: str) -> bool:
    """Say whether a class is called after a family: XLMRobertaModel is of xlm_roberta (and of xlm: better one too many)."""
    return class_name.replace("_", "").lower().startswith(family.replace("_", ""))


def needed_families(wanted: Wanted, bundle: Bundle, modules: FrozenModules, context: Context) -> tuple[dict[str, str], dict[str, str]]:
    """Return the families that are needed, with the reasons, and the values of `model_type` that no family has, with their files."""
    families = families_of(modules)
    types = sorted(wanted.types)
    settings = list(_modules_called(("configuration_",), families, bundle, modules))
    having = context.examine(f"types:{types}", settings, partial(examine_strings, texts=types))
    needed: dict[str, str] = {}
    unknown: dict[str, str] = {}
    for name in types:
        found = {_family_of(path, modules) for path, texts in having.items() if name in texts}
        found |= {family for family in families if family == name.replace("-", "_")}
        reason = f"{wanted.types[name]} names the model type {name!r}"
        needed |= dict.fromkeys((family for family in sorted(found) if family not in needed), reason)
        unknown |= {} if found else {name: wanted.types[name]}
    for family, reason in _of_classes(wanted, families, bundle, modules, context):
        needed.setdefault(family, reason)
    return needed, unknown


def _of_classes(wanted: Wanted, families: list[str], bundle: Bundle, modules: FrozenModules, context: Context) -> Iterator[tuple[str, str]]:
    """Yield the families in which a tokenizer or processor of this name is defined, or by whose name its own begins."""
    names = sorted({each for name in wanted.classes for each in (name, name.removesuffix("Fast"))})
    prefixes = ("tokenization_", "processing_", "image_processing_", "feature_extraction_", "video_processing_")
    files = list(_modules_called(prefixes, families, bundle, modules))
    having = context.examine(f"classes:{names}", files, partial(examine_strings, texts=names))
    for name in names:
        file = wanted.classes.get(name) or wanted.classes[f"{name}Fast"]
        found = {_family_of(path, modules) for path, texts in having.items() if name in texts}
        found |= {family for family in families if _is_of(name, family)}
        yield from ((family, f"{file} names the class {name}") for family in sorted(found))


def _modules_called(prefixes: tuple[str, ...], families: Iterable[str], bundle: Bundle, modules: FrozenModules) -> Iterator[File]:
    chosen = frozenset(families)
    for name, paths in sorted(modules.files.items()):
        parts = name.split(".")
        if len(parts) > 3 and name.startswith(f"{MODELS}.") and parts[2] in chosen and parts[-1].startswith(prefixes):
            yield from (bundle[path] for path in paths if bundle[path].kind in (Kind.BYTECODE, Kind.PYTHON))


def examine_strings(file: File, *, texts: list[str]) -> Json:
    """Return which of these texts stand in a module as a whole string or name; without parsing it."""
    data = file.read()
    return [text for text in texts if any(form in data for form in _forms(text))]


def _forms(text: str) -> Iterator[bytes]:
    """Yield the beginnings of a short string as marshal writes it, and how it is quoted or used in source."""
    encoded = text.encode()
    for mark in b"zZ\xfa\xda":
        yield bytes([mark, len(encoded) & 0xFF]) + encoded
    yield from (b'"' + encoded + b'"', b"'" + encoded + b"'", b"class " + encoded + b"(")


def _family_of(path: str, modules: FrozenModules) -> str:
    return (modules.name(path) or "").split(".")[2]
