"""The configuration that fits a project or an artifact: the requirement, and commented tables of TOML."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from hatch_mlbundle.config import DEFAULT_OPTIMIZERS
from hatch_mlbundle.plugins import OURS, Registry, optimizer_entries
from hatch_mlbundle.printable import printable
from hatch_mlbundle.reference import OptimizerEntry
from hatch_mlbundle.units import format_size

from .artifact import Artifact, other_suggestions
from .packages import helps
from .project import Project
from .toml_file import requires

WHEEL_HOOK = "tool.hatch.build.targets.wheel.hooks.mlbundle"
FROZEN_HOOK = "tool.hatch.build.targets.frozen.hooks.mlbundle"

_LARGE = frozenset(("torch", "torchvision", "tensorflow", "jax", "jaxlib", "vllm", "xformers", "sentence-transformers", "accelerate"))
"""What takes minutes to install, as the environment in which a wheel is verified has to."""

_MODEL_STEPS = {
    (".safetensors",): ("quantize", "externalize"),
    (".onnx",): ("onnx_quantize", "onnx_slim", "externalize"),
    (".pt", ".pth", ".ckpt"): ("torch_files", "externalize"),
    (".gguf",): ("externalize",),
}
_LIBRARY_STEPS = {
    "torch": ("torch_files", "torch_to_onnx"),
    "transformers": ("quantize",),
    "sentence-transformers": ("quantize", "torch_to_onnx"),
    "diffusers": ("quantize",),
    "onnxruntime": ("onnx_quantize", "onnx_slim"),
}
"""What suits the models that a frozen application brings for a library that it requires."""

_FOR_MODELS = {"onnx_quantize": "mlbundle-onnx", "onnx_slim": "mlbundle-onnx", "torch_to_onnx": "mlbundle-torch"}
"""Steps for models, and the plugin that brings each."""

_WIDTH = 78
_ROOM = 20_000
"""Bytes by which an artifact may grow in any case: what is said of a build inside a small wheel may be more than a tenth of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What is to be added: a requirement of the build, "" for none, and lines of TOML; `notes` say what is left to do by hand."""

    requirement: str
    tables: str
    notes: tuple[str, ...]


def propose(project: Project, artifact: Artifact | None, registry: Registry) -> Proposal:
    """Return the configuration that fits; of an artifact without a project, what `mlbundle optimize` reads."""
    kind = artifact.kind if artifact else "frozen" if project.frozen_target is not None or project.specs else "wheel"
    parts = [_steps(project, artifact, kind, registry), _exclude(artifact, kind), _budget(artifact), _verify(project, artifact, kind)]
    hook = _hook(project, kind)
    if hook and not _follows_hatch_toml(project):
        parts.append([f"[{hook}]"])
    return Proposal(
        requirement=_missing(_requirement(project, kind), project),
        tables="\n\n".join("\n".join(part) for part in parts if part) + "\n",
        notes=tuple(_notes(project, artifact, kind, hook)),
    )


def _requirement(project: Project, kind: str) -> str:
    if project.backend == "hatchling" and kind == "frozen" and project.frozen_target is not None:
        return f"{OURS}[frozen]"
    return OURS if kind == "wheel" and project.backend in ("hatchling", "setuptools") else ""


def _missing(requirement: str, project: Project) -> str:
    """Return a requirement, "" where the build has it already."""
    return "" if requirement and requires(project.document, requirement) else requirement


def _hook(project: Project, kind: str) -> str:
    """Return the table without which hatch would not call us, "" where it is there or none is needed."""
    if project.backend != "hatchling":
        return ""
    if kind == "frozen" and project.frozen_target is not None:
        return "" if project.frozen_target.get("hooks") else FROZEN_HOOK
    build = project.hatch.get("build")
    there = (_at(build, *keys, "hooks", "mlbundle") is not None for keys in ((), ("targets", "wheel")))
    return "" if kind != "wheel" or any(there) else WHEEL_HOOK


def _follows_hatch_toml(project: Project) -> bool:
    """Say whether hatch reads its table `build` from hatch.toml, and nothing of it from pyproject.toml."""
    return project.hatch.get("build") is not None and project.hatch.get("build") is not _at(project.document, "tool", "hatch", "build")


def _steps(project: Project, artifact: Artifact | None, kind: str, registry: Registry) -> list[str]:
    names = [name for name in DEFAULT_OPTIMIZERS if kind in registry[name].optimizer.artifacts]
    entries = {entry.name: entry for entry in optimizer_entries(registry)}
    lines = [
        "[tool.mlbundle]",
        *_comment("By `mlbundle init`. `mlbundle plugins` lists all steps and options."),
        "optimizers = [",
    ]
    for name in names:
        saving = _saving(name, artifact)
        lines += [*_comment(f"{entries[name].summary}{f' Here it {saving}.' if saving else ''}", "  "), f'  "{name}",']
    return [*lines, "]", *_more_steps(project, artifact, kind, entries), *_comment("strict = true  # fail where there is any finding")]


def _saving(name: str, artifact: Artifact | None) -> str:
    """Return what a step would save of the artifact, "" where that is not known."""
    row = artifact.suggestions.get(name) if artifact else None
    return f"saves {format_size(row.saved.installed)} in {row.files:,} file{'s' * (row.files != 1)}" if row else ""


def _more_steps(project: Project, artifact: Artifact | None, kind: str, entries: Mapping[str, OptimizerEntry]) -> Iterator[str]:
    """Yield comments on the steps that run only when they are named: with an artifact what each saves, else what fits the project."""
    found = [row.optimizer for row in other_suggestions(artifact)] if artifact else []
    for suffixes, steps in _MODEL_STEPS.items():
        if any(model.endswith(suffixes) for model in project.models):
            found += steps
    if kind == "frozen":
        found += [step for library, steps in _LIBRARY_STEPS.items() if library in project.requires for step in steps]
        found.append("prune_unused")
    if not artifact:
        found += [entry.name for entry in entries.values() if entry.distribution not in (OURS, *_FOR_MODELS.values())]
    for name in dict.fromkeys(found):
        if name in entries:
            yield from _comment(f'"{name}" ({_reason(entries[name], artifact)}): {entries[name].summary}')
        elif name in _FOR_MODELS:
            yield from _comment(f'"{name}": comes with the plugin {_FOR_MODELS[name]}, which is not installed.')


def _reason(entry: OptimizerEntry, artifact: Artifact | None) -> str:
    facts = [_saving(entry.name, artifact), "" if entry.lossless else "lossy", f"risk {entry.risk}"]
    if entry.distribution != OURS:
        facts.append(f"needs {entry.distribution} where it builds")
    return ", ".join(fact for fact in facts if fact)


def _exclude(artifact: Artifact | None, kind: str) -> list[str]:
    if not artifact or not artifact.groups:
        return []
    sizes = ", ".join(f"{name} {format_size(size)}" for name, size in artifact.groups.items())
    lines = ["[tool.mlbundle.exclude]", f"groups = {_list(artifact.groups)}"]
    if kind == "frozen":
        return [*_comment(f"What only developers need: {sizes}."), *lines]
    return [*_comment(f"What only developers need, where nobody builds against it: {sizes}."), *_out(lines)]


def _budget(artifact: Artifact | None) -> list[str]:
    if not artifact:
        return _out(["[tool.mlbundle.budget]  # `mlbundle init --replace ARTIFACT` measures one", 'installed = "100 MB"'])
    lines = ["[tool.mlbundle.budget]", f'installed = "{_roomy(artifact.installed)}"']
    told = f"{artifact.name}: {format_size(artifact.installed)} installed"
    if artifact.kind == "wheel":
        lines.append(f'compressed = "{_roomy(artifact.size)}"')
        told += f", {format_size(artifact.size)} compressed"
    return [*_comment(f"{told}; this leaves some room. `mlbundle check` tells how much of it is used."), *lines]


def _roomy(size: int) -> str:
    """Return a size with room, of two digits that count, as people write it."""
    wanted = size + max(size // 10, _ROOM)
    step = 10 ** max(0, len(str(wanted)) - 2)
    rounded = -(-wanted // step) * step
    for unit, one in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if rounded >= one:
            return f"{rounded / one:g} {unit}"
    return f"{rounded} B"


def _verify(project: Project, artifact: Artifact | None, kind: str) -> list[str]:
    """Return the commands that run before and after: those that are sure to work, and as comments those to be seen to."""
    sure, unsure = (_writable(commands) for commands in _commands(project, artifact, kind))
    large = sorted(project.requires & _LARGE) if kind == "wheel" else []
    if large:
        sure, unsure = [], [*sure, *unsure]
    lines = _comment(
        "These run on the artifact before and after; a change that makes a difference is put back. Real work proves more than --help."
    )
    if large:
        lines += _comment(f"For a wheel, each build makes an environment with {', '.join(large)} for them; that takes minutes.")
    for place, command in enumerate(sure):
        lines += [*([""] if place else []), "[[tool.mlbundle.verify.commands]]", f"run = {_list(command)}"]
    if unsure and not large:
        lines += _comment("Whether this one ends well is for you to try; then take the # away.")
    for command in unsure:
        lines += _out(["[[tool.mlbundle.verify.commands]]", f"run = {_list(command)}"])
    return lines


def _writable(commands: Iterable[list[str]]) -> list[list[str]]:
    """Return the commands that TOML can hold, and that a person can read: a file's name may be neither."""
    return [command for command in commands if all(part.isprintable() for part in command)]


def _commands(project: Project, artifact: Artifact | None, kind: str) -> tuple[list[list[str]], list[list[str]]]:
    if kind == "wheel":
        imports = (artifact.imports if artifact else "") or project.imports
        sure = [["{python}", "-c", f"import {imports}"]] if imports else []
        known = [[name, "--help"] for name, reference in project.scripts.items() if helps(project.folder, reference)]
        others = [[name, "--help"] for name in project.scripts if [name, "--help"] not in known]
        return [*sure, *known[:1]], [] if known else others[:1]
    if kind == "image":
        return [], [["python", "-c", f"import {project.imports or 'my_app'}"]]
    target = project.frozen_target
    if target is None:
        names = artifact.programs if artifact else [spec.removesuffix(".spec") for spec in project.specs]
        return [], [["{bundle}/" + name, "--help"] for name in (names or ("my-program",))[:1]]
    name, reference = _frozen_program(project, target)
    command = ["{bundle}/" + name, "--help"]
    return ([command], []) if helps(project.folder, reference) else ([], [command])


def _frozen_program(project: Project, target: Mapping[str, object]) -> tuple[str, str]:
    """Return the name of the first executable, and the reference behind it, as the target `frozen` goes by them."""
    name, reference = target.get("name") or project.name, target.get("entry-point")
    if not reference and project.scripts:
        script, reference = next(iter(project.scripts.items()))
        name = name if len(project.scripts) == 1 else script
    return str(name), str(reference or "")


def _notes(project: Project, artifact: Artifact | None, kind: str, hook: str) -> Iterator[str]:
    """Yield what is left to do, a line each."""
    if hook and _follows_hatch_toml(project):
        yield f"hatch.toml has the build's tables: add [{hook.removeprefix('tool.hatch.')}] there"
    if kind == "frozen" and project.frozen_target is not None:
        yield "hatch build -t frozen"
    elif kind == "frozen" and project.specs and not artifact:
        yield f"{project.specs[0]}: add two lines before PYZ (docs/frozen.md), or run mlbundle optimize on the finished folder"
    elif kind == "wheel" and project.backend in ("hatchling", "setuptools"):
        yield "python -m build --wheel" if project.backend == "setuptools" else "hatch build"
    elif kind == "wheel" and project.backend == "other":
        yield f"{project.back_end} knows no hook: after each build, run mlbundle optimize dist/*.whl (docs/other-back-ends.md)"
    else:
        yield f"mlbundle optimize {artifact.name if artifact else 'ARTIFACT'}"


def _comment(text: str, indent: str = "") -> list[str]:
    prefix = f"{indent}# "
    return textwrap.fill(
        printable(text), _WIDTH, initial_indent=prefix, subsequent_indent=prefix, break_long_words=False, break_on_hyphens=False
    ).split("\n")


def _out(lines: Iterable[str]) -> list[str]:
    return [f"# {line}" for line in lines]


def _list(values: Iterable[str]) -> str:
    return f"[{', '.join(json.dumps(value, ensure_ascii=False) for value in values)}]"


def _at(table: object, *keys: str) -> object:
    for key in keys:
        table = table.get(key) if isinstance(table, Mapping) else None
    return table
