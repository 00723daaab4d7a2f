"""`[tool.hatch.build.targets.frozen]`: what is to be frozen. Every fault is told at once, with its TOML path."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from hatch_mlbundle.optimizer import option
from hatch_mlbundle.schema import read_table, toml_names

from .search import is_module, is_package

TABLE = "tool.hatch.build.targets.frozen"
"""The TOML path of the target's table."""

OVERLAY = "mlbundle"
"""The key of the table that is laid over `[tool.mlbundle]` for this target."""

_HATCHS_OWN = ("dependencies", "directory", "hooks", "require-runtime-dependencies", "require-runtime-features", "versions")
"""Keys of a target's table that hatch itself reads, and that mean for this target what they mean for any (hatchling's `BuilderConfig`)."""

_SELECTION = (
    *("artifacts", "dev-mode-dirs", "dev-mode-exact", "exclude", "force-include", "ignore-vcs", "include", "only-include"),
    *("only-packages", "packages", "reproducible", "skip-excluded-dirs", "sources"),
)
"""Keys that hatch reads for any target, and that select files for wheels and sdists."""

_ENTRY_POINT = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*(?:\.[^\W\d]\w*)*)")

_OURS = {
    "--onefile": "set one-file = true, so that the bundle is small before it is packed",
    "--onedir": "one-file decides that",
    "--name": "set name",
    "--strip": "the step `strip` does it without breaking libraries",
    "--upx-dir": "the step `upx` does it, and loads each result",
    "--noupx": "PyInstaller never runs UPX here",
    "--upx-exclude": "the step `upx` has `exclude`",
    "--distpath": "hatch's `directory` decides where the bundle goes",
    "--workpath": "it works in a folder of its own",
    "--specpath": "it works in a folder of its own; to keep a spec file, name it in `spec`",
    "--contents-directory": "the contents folder is always `_internal`",
    "--noconfirm": "the former bundle stays until the new one is whole",
    "--clean": "every build starts clean",
    "--log-level": "the log is read for progress and findings",
}
"""Arguments of PyInstaller that would contradict ours, and what to do instead."""

_SHORT = {"F": "--onefile", "D": "--onedir", "n": "--name", "s": "--strip", "y": "--noconfirm"}


@dataclass(frozen=True, kw_only=True)
class ApplicationOptions:
    """One executable."""

    name: str = option("What the executable is called. Empty is the name of the project, or of its script.", default="")
    entry_point: str = option('The function to call: "package.module:function".', default="")
    script: str = option("The Python file to run, relative to the project.", default="")
    windowed: bool = option("Whether Windows and macOS open no console for it.", default=False)
    icon: str = option("The icon's file, relative to the project (Windows, macOS).", default="")
    hidden_imports: tuple[str, ...] = option("Modules that PyInstaller does not see being imported.", default=())


@dataclass(frozen=True, kw_only=True)
class FrozenOptions(ApplicationOptions):
    """The keys of the target's table that are ours."""

    name: str = option("What the folder, or the one file, is called, and a single executable. Empty is the project's name.", default="")
    spec: str = option("A spec file of your own, relative to the project, that makes one folder (COLLECT).", default="")
    one_file: bool = option("Whether the result is one executable file.", default=False)
    collect_data: tuple[str, ...] = option("Packages whose data files are collected.", default=())
    collect_packages: tuple[str, ...] = option("Packages of which everything is collected: modules, data and libraries.", default=())
    data: tuple[str, ...] = option(
        'Files and folders to add, "SOURCE:FOLDER": a path or glob relative to the project, and the folder in the bundle.', default=()
    )
    exclude_modules: tuple[str, ...] = option("Modules and packages that are left out, as if they were not installed.", default=())
    paths: tuple[str, ...] = option("Folders to import from, beside the project's own and its `src`.", default=())
    environment: tuple[str, ...] = option("Environment variables that PyInstaller gets beside those that find files.", default=())
    pyinstaller_arguments: tuple[str, ...] = option("More arguments, as on PyInstaller's command line.", default=())
    applications: tuple[ApplicationOptions, ...] = option(
        "Several executables that share one folder, each a table with the keys from `name` to `hidden-imports`.", default=()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Executable:
    """An executable to make, of a function (`module`, `function`) or of a `script`."""

    name: str
    module: str = ""
    function: str = ""
    script: Path | None = None
    windowed: bool = False
    icon: str = ""
    hidden_imports: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is to be frozen: a bundle called `name`, of these executables or of a `spec`.

    `paths` are the folders to import the project from.
    """

    name: str
    root: Path
    paths: tuple[Path, ...]
    executables: tuple[Executable, ...]
    spec: Path | None
    options: FrozenOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """What the project's metadata say: its folder, name, and scripts, each name with its `module:function`."""

    root: Path
    name: str
    scripts: Mapping[str, str]
    gui_scripts: Mapping[str, str]


def read_target(table: Mapping[str, object], project: Project, faults: list[str]) -> Target:
    """Return what the target's table asks for; what is wrong with it is appended to `faults`, and then it cannot be made."""
    faults += [
        f"{TABLE}.{key}: selects files for wheels and sdists; here `data` and `collect-data` do" for key in _SELECTION if key in table
    ]
    ours = {key: value for key, value in table.items() if key not in (*_HATCHS_OWN, *_SELECTION, OVERLAY)}
    before = len(faults)
    options = read_table(FrozenOptions, ours, TABLE, faults)
    root = project.root
    folders = [root, *(folder for folder in [root / "src"] if folder.is_dir()), *(root / path for path in options.paths)]
    target = Target(
        name=options.name or project.name,
        root=root,
        paths=tuple(dict.fromkeys(folders)),
        executables=tuple(_executables(options, project)),
        spec=root / options.spec if options.spec else None,
        options=options,
    )
    if len(faults) == before:
        faults += _faults(target)
    return target


def _executables(options: FrozenOptions, project: Project) -> Iterator[Executable]:
    """Yield what the options name, or else the scripts of the project; nothing for a spec, which names its own."""
    if options.spec:
        return
    name = options.name or project.name
    if options.applications:
        for each in options.applications:
            yield _executable(each, each.name, options, project.root)
    elif options.entry_point or options.script:
        yield _executable(options, name, FrozenOptions(), project.root)
    else:
        scripts = [(*item, False) for item in project.scripts.items()] + [(*item, True) for item in project.gui_scripts.items()]
        for script, entry_point, windowed in scripts:
            module, _, function = entry_point.partition("[")[0].replace(" ", "").partition(":")
            yield Executable(
                name=name if len(scripts) == 1 else script,
                module=module,
                function=function,
                windowed=windowed or options.windowed,
                icon=options.icon,
                hidden_imports=options.hidden_imports,
            )


def _executable(own: ApplicationOptions, name: str, common: ApplicationOptions, root: Path) -> Executable:
    """Return the executable of a table, to which the options that are `common` to several are added."""
    match = _ENTRY_POINT.fullmatch(own.entry_point)
    return Executable(
        name=name,
        module=match[1] if match else "",
        function=match[2] if match else "",
        script=root / own.script if own.script else None,
        windowed=own.windowed or common.windowed,
        icon=own.icon or common.icon,
        hidden_imports=(*common.hidden_imports, *own.hidden_imports),
    )


def _faults(target: Target) -> Iterator[str]:
    options = target.options
    yield from _source_faults(target)
    yield from _name_faults(f"{TABLE}.name", target.name)
    names: set[str] = set()
    for path, each in _tables(options):
        yield from _application_faults(path, each, target)
        if path != TABLE:
            yield from _name_faults(f"{path}.name", each.name)
            if each.name in names:
                yield f"{path}.name: {each.name!r} is the name of another application"
            names.add(each.name)
    if options.one_file and len(target.executables) > 1:
        listed = ", ".join(each.name for each in target.executables)
        yield f"{TABLE}.one-file: takes one application, and there are {len(target.executables)} ({listed}); set entry-point or script"
    yield from _folder_faults(target)
    yield from _package_faults(target)
    yield from _data_faults(target)
    yield from _argument_faults(options.pyinstaller_arguments)


def _source_faults(target: Target) -> Iterator[str]:
    """Yield what is wrong with the choice of what to freeze: exactly one way of it may be named."""
    options = target.options
    named = [key for key in ("entry-point", "script", "spec", "applications") if getattr(options, key.replace("-", "_"))]
    if len(named) > 1:
        yield f"{TABLE}: {' and '.join(named)} are set; exactly one of them says what to freeze"
    elif not named and not target.executables:
        yield f"{TABLE}: does not say what to freeze; set entry-point, script or spec, or give the project a script"
    elif target.spec:
        if not target.spec.is_file():
            yield f"{TABLE}.spec: there is no file {options.spec}"
        works = ("name", "spec", "one_file", "paths", "environment")
        for key, name in toml_names(FrozenOptions).items():
            if name not in works and getattr(options, name) != getattr(FrozenOptions(), name):
                yield f"{TABLE}.{key}: belongs in the spec file"


def _tables(options: FrozenOptions) -> list[tuple[str, ApplicationOptions]]:
    """Return the tables that describe an application, with their TOML paths."""
    listed = [(f"{TABLE}.applications[{position}]", each) for position, each in enumerate(options.applications)]
    return [(TABLE, options), *listed]


def _application_faults(path: str, options: ApplicationOptions, target: Target) -> Iterator[str]:
    if path != TABLE and bool(options.entry_point) == bool(options.script):
        yield f"{path}: needs an entry-point or a script, one of them"
    if options.entry_point:
        match = _ENTRY_POINT.fullmatch(options.entry_point)
        if match is None:
            yield f'{path}.entry-point: must be like "package.module:function", not {options.entry_point!r}'
        elif not is_module(match[1], target.paths):
            yield f"{path}.entry-point: there is no module {match[1]}, neither in the project nor in the build environment"
    if options.script and not (target.root / options.script).is_file():
        yield f"{path}.script: there is no file {options.script}"
    if options.icon and options.icon != "NONE" and not (target.root / options.icon.partition(",")[0]).is_file():
        yield f"{path}.icon: there is no file {options.icon}"


def _name_faults(path: str, name: str) -> Iterator[str]:
    hidden = name.startswith((".", "-"))
    if not name or hidden or name == "_internal" or set(name) & set('/\\:*?"<>|') or not name.isprintable():
        yield f"{path}: must be a file name, not {name!r}"


def _folder_faults(target: Target) -> Iterator[str]:
    for position, path in enumerate(target.options.paths):
        if not (target.root / path).is_dir():
            yield f"{TABLE}.paths[{position}]: there is no folder {path}"


def _package_faults(target: Target) -> Iterator[str]:
    if not target.options.entry_point and not target.options.applications:
        for each in target.executables:
            if each.script is None and not is_module(each.module, target.paths):
                yield f"{TABLE}: the script {each.name} needs {each.module}, which is neither in the project nor in the build environment"
    for key, packages in (("collect-data", target.options.collect_data), ("collect-packages", target.options.collect_packages)):
        for position, package in enumerate(packages):
            if not is_package(package, target.paths):
                yield f"{TABLE}.{key}[{position}]: there is no package {package}, neither in the project nor in the build environment"


def _data_faults(target: Target) -> Iterator[str]:
    for position, entry in enumerate(target.options.data):
        path = f"{TABLE}.data[{position}]"
        source, folder = split_data(entry)
        if not source or not folder:
            yield f'{path}: must be like "SOURCE:FOLDER", not {entry!r}'
        elif _leaves(folder):
            yield f"{path}: {folder} is no folder in the bundle"
        elif not any(_found(target.root, source)):
            yield f"{path}: there is nothing called {source}"


def split_data(entry: str) -> tuple[str, str]:
    """Return source and folder of an entry of `data`: what is before and after its last colon, each perhaps empty."""
    source, _, folder = entry.rpartition(":")
    return source, folder


def _leaves(folder: str) -> bool:
    return ".." in PurePosixPath(folder.replace("\\", "/")).parts or folder.startswith(("/", "\\")) or bool(PureWindowsPath(folder).drive)


def _found(root: Path, source: str) -> Iterator[Path]:
    if (root / source).exists():
        yield root / source
    else:
        base = Path(PurePosixPath(source).anchor or root)
        yield from base.glob(str(PurePosixPath(source).relative_to(PurePosixPath(source).anchor)))


def _argument_faults(arguments: Sequence[str]) -> Iterator[str]:
    for position, argument in enumerate(arguments):
        long = _long_form(argument)
        if long:
            yield f"{TABLE}.pyinstaller-arguments[{position}]: {argument} cannot be given; {_OURS[long]}"


def _long_form(argument: str) -> str | None:
    """Return the argument of ours that this one is, however it is written; None for others and for values."""
    if argument.startswith("--"):
        written = argument.partition("=")[0]
        return next((each for each in _OURS if written == each or (len(written) > 4 and each.startswith(written))), None)
    if argument.startswith("-") and len(argument) > 1:
        return next((_SHORT[letter] for letter in argument[1:2] if letter in _SHORT), None)
    return None
