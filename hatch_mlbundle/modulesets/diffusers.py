"""Which pipelines, models and schedulers of diffusers the models in a bundle need, by their own configuration files.

A pipeline's `model_index.json` names its class and those of its parts; `config.json` and `scheduler_config.json` name theirs
(`ConfigMixin`, `_class_name`). The packages of diffusers hand out their classes by name when they are asked for
(`_LazyModule`), so what else a class needs is found by the names that its module imports.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from posixpath import basename

from hatch_mlbundle.frozenmodules import FrozenModules, archive_of
from hatch_mlbundle.importtime import Needs, examine_needs
from hatch_mlbundle.marshalled_code import read_code
from hatch_mlbundle.model import Bundle, File, Finding, Kind
from hatch_mlbundle.optimizer import Context, Json
from hatch_mlbundle.pysource import top_level_names

_PACKAGE = "diffusers"
_GROUPS = ("diffusers.pipelines.", "diffusers.schedulers.", "diffusers.models.", "diffusers.modular_pipelines.")
"""What is taken apart: the rest of diffusers stays."""
_SHARED = frozenset(
    {
        "diffusers.pipelines.free_init_utils",
        "diffusers.pipelines.free_noise_utils",
        "diffusers.pipelines.onnx_utils",
        "diffusers.pipelines.pipeline_loading_utils",
        "diffusers.pipelines.pipeline_utils",
        "diffusers.schedulers.scheduling_utils",
        "diffusers.models.modeling_utils",
    }
)
_CONFIGURATIONS = frozenset({"model_index.json", "config.json", "scheduler_config.json", "modular_model_index.json"})
_LARGEST = 1 << 24
_SCHEDULER = re.compile(rb"[A-Z]\w+Scheduler\b")
_COMPATIBLE = "diffusers.schedulers.scheduling_utils"
"""Lists the schedulers that take one another's configuration (`KarrasDiffusionSchedulers`): loading one of them looks all of them up."""


def unneeded_classes(
    bundle: Bundle, modules: FrozenModules, named: Collection[str], own: Mapping[str, Needs], context: Context
) -> dict[str, str]:
    """Return why each module of a pipeline, model or scheduler goes: none that is needed needs a class that it defines.

    `named` are classes to keep, `own` what the application's own modules import. Where no configuration file names a class none
    goes, and a finding says so.
    """
    parts = {name: paths for name, paths in modules.files.items() if name.partition(".")[0] == _PACKAGE}
    if not parts:
        return {}
    wanted = {*named, *_configured(bundle, context)}
    if not wanted:
        message = (
            "all pipelines, models and schedulers of diffusers stay, because no model_index.json in the bundle names a class; "
            'name those that the application needs: `classes = ["DDIMPipeline"]`'
        )
        context.report(Finding(code="MB315", message=message))
        return {}
    wanted |= {name for needs in own.values() for name in _names_from(needs)}
    files = {_code_of(paths, bundle): name for name, paths in parts.items()}
    facts = context.examine("classes of diffusers", [bundle[path] for path in sorted(files) if path], examine_module)
    defines = {name: facts[path] for path, name in files.items() if path in facts}
    candidates = {name for name in defines if _is_part(name, modules)}
    needed = _reach(wanted, defines, candidates, modules)
    why = "set 'diffusers-models': no model in the bundle needs a class of it"
    return dict.fromkeys(sorted(candidates - needed), why)


def examine_module(file: File) -> Json:
    """Return, as JSON, the names that a module defines at its top, the imports that it needs, those that stand in functions, and,
    of a scheduler, the schedulers that it mentions; None for what cannot be read.
    """
    needs = Needs.from_json(examine_needs(file))
    if needs.error:
        return None
    if file.kind is Kind.BYTECODE:
        defined = sorted({code.name for code in read_code(file.read()).nested()})
    else:
        defined = top_level_names(file.read())
    mentioned = sorted({match[0].decode() for match in _SCHEDULER.finditer(file.read())}) if "/schedulers/" in file.path else []
    return [defined, *([[level, module, list(names)] for level, module, names in rows] for rows in (needs.first, needs.later)), mentioned]


def _reach(wanted: set[str], facts: Mapping[str, Json], candidates: Collection[str], modules: FrozenModules) -> set[str]:
    """Return the candidates that define one of the wanted names, or what they import in their turn.

    Of all other modules of diffusers only what they cannot be imported without counts: inside functions they import the parts of other
    models when they are asked for these.
    """
    definers: dict[str, set[str]] = defaultdict(set)
    for name in candidates:
        for each in facts[name][0] if facts[name] else ():
            definers[each].add(name)
    needed = {name for name in candidates if facts[name] is None}
    waiting = [*(name for name in facts if name not in candidates), *needed]
    fresh = set(wanted)
    while fresh or waiting:
        found = {module for name in fresh for module in definers.get(name, ())}
        fresh = set()
        for module in waiting:
            fresh |= _compatible(module, facts) - wanted if module in candidates else set()
            for level, target, names in _rows(facts[module], later=module in candidates):
                handed_out = any(map(modules.is_package, modules.resolve(module, level, target, ())))
                fresh |= set(names) - wanted if handed_out else set()
                found |= {each for each in modules.resolve(module, level, target, names) if each in candidates}
        wanted |= fresh
        waiting = sorted(found - needed)
        needed |= found
    return needed


def _compatible(module: str, facts: Mapping[str, Json]) -> set[str]:
    """Return the schedulers that are looked up when the scheduler of a module is loaded."""
    fact, shared = facts[module], facts.get(_COMPATIBLE)
    if fact is None:
        return set()
    all_of_them = any("KarrasDiffusionSchedulers" in names for _, _, names in fact[1])
    return {*fact[3], *(shared[3] if shared and all_of_them else ())}


def _rows(fact: Json, *, later: bool) -> Iterator[tuple[int, str, list[str]]]:
    if fact is not None:
        yield from fact[1]
        yield from fact[2] if later else ()


def _is_part(name: str, modules: FrozenModules) -> bool:
    inside = name.startswith(_GROUPS) and name not in _SHARED
    return inside and not modules.is_package(name)


def _code_of(paths: Iterable[str], bundle: Bundle) -> str:
    code = [path for path in paths if bundle[path].kind in (Kind.BYTECODE, Kind.PYTHON)]
    return min(code, key=lambda path: (archive_of(path) is None, path), default="")


def _names_from(needs: Needs) -> Iterator[str]:
    for level, module, names in (*needs.first, *needs.later):
        if not level and module.partition(".")[0] == _PACKAGE:
            yield from names


def _configured(bundle: Bundle, context: Context) -> set[str]:
    files = [file for path, file in sorted(bundle.items()) if basename(path) in _CONFIGURATIONS and file.size <= _LARGEST]
    return {name for names in context.examine("diffusers models", files, examine_configuration).values() for name in names}


def examine_configuration(file: File) -> Json:
    """Return the names of diffusers' classes in a configuration file: `_class_name`, and `["diffusers", NAME]` in a model_index.json."""
    try:
        table = json.loads(file.read())
    except (ValueError, RecursionError):
        return []
    if not isinstance(table, dict):
        return []
    parts = [value[1] for value in table.values() if isinstance(value, list) and len(value) == 2 and value[0] != "transformers"]
    classes = table.get("_class_name")
    named = [*parts, *classes] if isinstance(classes, list) else [*parts, classes]
    return sorted({name for name in named if isinstance(name, str)}) if classes else []
