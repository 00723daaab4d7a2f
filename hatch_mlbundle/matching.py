"""Hold what was read of an artifact against the manifest that describes it. docs/verify-artifact.md describes the JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

from .errors import ArtifactError, ManifestError
from .importpaths import is_in_pyz
from .json_rows import document_text, line, rows
from .manifest import FileState, Manifest
from .printable import printable

FORMAT = "mlbundle-match"
FORMAT_VERSION = "1.0"
"""Major and minor of the document that `to_json` writes: a new minor adds keys, a new major changes what there is."""

Part: TypeAlias = Literal["artifact", "file", "layer", "companion", "model", "packed"]
"""What a difference is about: the artifact as a whole, a file in it, a layer of an image, or what lies beside the artifact."""

Status: TypeAlias = Literal["missing", "extra", "changed", "unreadable"]

_KEYS = ("size", "compressed", "sha256")

State: TypeAlias = Mapping[str, Any]
"""What the manifest says, or what was found, by the manifest's own keys: `size`, `sha256`, ..."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is not as the manifest says.

    `expected` and `found` have the keys that differ: all of what is missing or extra, none of what cannot be read. `problem` says what
    the numbers do not.
    """

    part: Part
    status: Status
    path: str
    expected: State = field(default_factory=dict)
    found: State = field(default_factory=dict)
    problem: str = ""

    def line(self) -> str:
        """Return the difference as one line for a person."""
        told = "; ".join(f"{key} {_brief(self.expected.get(key))}, found {_brief(self.found.get(key))}" for key in self._keys())
        where = printable(self.path) if self.part == "file" else f"{self.part} {printable(self.path)}"
        return f"{where}: {self.status}" + "".join(f" ({each})" for each in (told, printable(self.problem)) if each)

    def _keys(self) -> list[str]:
        return list(self.expected) if self.status == "changed" else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What was read of an artifact: `size` and `sha256` are as a manifest has them, and so are the `files`, by path.

    Where it could not be read as what it should be, `files` is None, and `fault` says why. `unreadable` says why single files could not be;
    with `opaque`, the modules inside of executables are among those. What is None was not measured, and is not compared.
    """

    name: str
    size: int
    sha256: str | None
    files: Mapping[str, FileState] | None
    structure: int | None = None
    layers: tuple[tuple[str, int], ...] | None = None
    unreadable: Mapping[str, str] = field(default_factory=dict)
    fault: ArtifactError | None = None
    opaque: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What came of a comparison; `unchecked` are the things that the manifest lists and that are not here."""

    artifact: str
    kind: str
    generator: str
    sha256: str
    size: int
    installed: int
    files: int
    beside: int
    differences: tuple[Difference, ...]
    unchecked: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether the artifact is the one that the manifest describes."""
        return not self.differences

    def to_json(self) -> str:
        """Return the match as a document of its own: a line for each difference. Any UTF-8 stream takes it."""
        head = {"format": FORMAT, "format_version": FORMAT_VERSION, "same": self.same}
        told = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ("differences", "unchecked")}
        lists = {"unchecked": rows(map(line, self.unchecked)), "differences": rows(line(asdict(each)) for each in self.differences)}
        return document_text({**{key: line(value) for key, value in {**head, **told}.items()}, **lists})


def check_provable(manifest: Manifest, where: str) -> None:
    """Raise ManifestError for a manifest by which nothing can be proved: one of sizes alone, or with two rows for one file."""
    listed = [row for row in manifest.files if row.after]
    if manifest.artifact.after.sha256 is None or any(row.after and row.after.sha256 is None for row in listed):
        raise ManifestError(f"{where}: has sizes but no hashes (--no-hashes), which prove nothing; make it anew without that")
    seen: set[str] = set()
    for row in listed:
        if row.path in seen:
            raise ManifestError(f"{where}: has two rows for {printable(row.path)!r}; make it anew")
        seen.add(row.path)


def differences(manifest: Manifest, found: Inventory) -> list[Difference]:
    """Return in what the artifact is not the one that the manifest describes: first as a whole, then its layers and files by path."""
    expected = {row.path: row.after for row in manifest.files if row.after}
    files = (
        [] if found.files is None else file_differences(expected, found.files, unreadable=found.unreadable, whole=_opaque(manifest, found))
    )
    layers = list(_layer_differences(manifest, found)) if found.layers is not None else []
    return [*_whole(manifest, found, others=bool(files or layers)), *layers, *files]


def _whole(manifest: Manifest, found: Inventory, *, others: bool) -> Iterator[Difference]:
    """Yield the difference of the artifact as a whole; `others` says that there are some of its parts."""
    after, name = manifest.artifact.after, manifest.artifact.name
    if manifest.artifact.kind == "wheel" and found.name != name:  # its tags are in its name: where it may be installed
        yield Difference(part="artifact", status="changed", path=name, expected={"name": name}, found={"name": found.name})
    files = found.files
    seen: dict[str, Any] = {"size": found.size, "sha256": found.sha256, "structure": found.structure}
    if files is not None:
        seen |= {"files": len(files), "installed": sum(state.size for state in files.values())}
    compared = {key: value for key, value in seen.items() if value is not None and not (found.opaque and key in ("files", "installed"))}
    wrong = {key: getattr(after, key) for key, value in compared.items() if value != getattr(after, key)}
    if wrong:
        alone = list(wrong) == ["sha256"] and not others and after.structure == 0
        problem = "all files are the same, but not their permissions or the targets of links" if alone and files is not None else ""
        yield Difference(
            part="artifact", status="changed", path=name, expected=wrong, found={key: seen[key] for key in wrong}, problem=problem
        )
    if found.fault:
        yield Difference(part="artifact", status="unreadable", path=name, problem=found.fault.problem)


def _layer_differences(manifest: Manifest, found: Inventory) -> Iterator[Difference]:
    expected = [(row.digest, row.size) for row in manifest.layers]
    actual = list(found.layers or ())
    for number in range(max(len(expected), len(actual))):
        before, after = (each[number] if number < len(each) else None for each in (expected, actual))
        if before != after:
            status: Status = "extra" if before is None else "missing" if after is None else "changed"
            told = [dict(zip(("digest", "size"), each, strict=True)) if each else {} for each in (before, after)]
            yield Difference(part="layer", status=status, path=str(number + 1), expected=told[0], found=told[1])


def _opaque(manifest: Manifest, found: Inventory) -> frozenset[str]:
    """Return the executables that count as a whole, since their modules could not be read."""
    return frozenset(row.path for row in manifest.files if row.kind == "frozen") if found.opaque else frozenset()


def file_differences(
    expected: Mapping[str, FileState],
    found: Mapping[str, FileState],
    *,
    unreadable: Mapping[str, str] | None = None,
    whole: frozenset[str] = frozenset(),
) -> list[Difference]:
    """Return how files differ from the expected ones, by path.

    Of those `unreadable`, that is what there is to say. Where there are `whole` executables, no modules were read: only the executables'
    hashes count.
    """
    faults = unreadable or {}
    differences = []
    for path in sorted(expected.keys() | found.keys() | faults.keys()):
        before, after = expected.get(path), found.get(path)
        if path in faults:
            differences.append(Difference(part="file", status="unreadable", path=path, problem=faults[path]))
        elif before is None:
            differences.append(Difference(part="file", status="extra", path=path, found=_state(after)))
        elif after is None:
            if not (whole and is_in_pyz(path)):
                differences.append(Difference(part="file", status="missing", path=path, expected=_state(before)))
        elif wrong := [key for key in (("sha256",) if path in whole else _KEYS) if getattr(before, key) != getattr(after, key)]:
            differences.append(changed("file", path, _state(before), _state(after), wrong))
    return differences


def changed(part: Part, path: str, expected: State, found: State, keys: Iterable[str] | None = None) -> Difference:
    """Return the difference of two states in these keys, or in those that differ."""
    wrong = list(keys) if keys is not None else [key for key in expected if expected[key] != found.get(key)]
    told = [{key: each.get(key) for key in wrong} for each in (expected, found)]
    return Difference(part=part, status="changed", path=path, expected=told[0], found=told[1])


def _state(state: FileState | None) -> dict[str, Any]:
    return {key: value for key, value in asdict(state).items() if value is not None} if state else {}


def _brief(value: object) -> str:
    """Return a value for a line: of a hash, as many digits as tell it from another."""
    text = f"{value:,}" if isinstance(value, int) else printable(str(value))
    return f"{text[:19]}..." if len(text) >= 64 and " " not in text else text
