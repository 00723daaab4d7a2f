"""Manifests with something in every part of a report; their totals reconcile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hatch_mlbundle.budget import BudgetCheck, LimitResult
from hatch_mlbundle.manifest import (
    ArtifactRow,
    ChangeRow,
    CompanionRow,
    ContentsRow,
    DetailRow,
    FileRow,
    FileState,
    Manifest,
    PackedRow,
    Saved,
    StepRow,
    SuggestionRow,
    ToolRow,
    Totals,
)
from hatch_mlbundle.model import Finding
from hatch_mlbundle.removable import GpuCodeRow, KeepingRow, RemovableRow, StripRow

STRUCTURE = 1_000
"""Bytes of the archive's headers, before and after."""

HOSTILE = (
    "<script>window.hacked = 1</script>",
    "<img src=x onerror=window.hacked=1>",
    "</script><script>window.hacked = 1</script>",
    "<!--<script>",
    "line\nbreak\x1b[31m",
    "right\u202eto\u2066left",
    "lone\udc80surrogate",
    "pipe|back`tick$data${policy}",
    "&amp;\"quoted'",
    "x" * 300,
)
"""File names that do harm where they are taken for anything else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file: bytes before and after (None: not there), and the step that changed it. In the artifact it takes half its bytes."""

    path: str
    kind: str = "data"
    owner: str = "app"
    before: int | None = None
    after: int | None = None
    step: int | None = None
    sha256: str | None = None


def saved(entries: Iterable[Entry]) -> Saved:
    changed = list(entries)
    return Saved(
        installed=sum((entry.before or 0) - (entry.after or 0) for entry in changed),
        compressed=sum((entry.before or 0) // 2 - (entry.after or 0) // 2 for entry in changed),
    )


def state(entry: Entry, size: int | None) -> FileState | None:
    return None if size is None else FileState(size=size, compressed=size // 2, sha256=entry.sha256 or f"{entry.path}:{size}")


def row(entry: Entry) -> FileRow:
    changes: tuple[ChangeRow, ...] = ()
    if entry.step is not None:
        action = "drop" if entry.after is None else "add" if entry.before is None else "rewrite"
        changes = (ChangeRow(step=entry.step, action=action, reason="it is told to", saved=saved([entry])),)
    before, after = state(entry, entry.before), state(entry, entry.after)
    return FileRow(path=entry.path, kind=entry.kind, owner=entry.owner, before=before, after=after, changes=changes)


def totals(sizes: Sequence[int]) -> Totals:
    compressed = sum(size // 2 for size in sizes)
    return Totals(size=compressed + STRUCTURE, installed=sum(sizes), structure=STRUCTURE, files=len(sizes), sha256="0" * 64)


def step(number: int, name: str, entries: Sequence[Entry], *, lossless: bool = True) -> StepRow:
    own = [entry for entry in entries if entry.step == number]
    changes = {"rewrite": len(own), "keep": 2} if own else {}
    options = {"enabled": True, "exclude": ["**/keep/**"]}
    return StepRow(
        optimizer=name,
        distribution="hatch-mlbundle",
        version="0.1.0",
        lossless=lossless,
        options=options,
        changes=changes,
        saved=saved(own),
    )


def manifest_of(entries: Sequence[Entry], name: str = "app-2.0-py3-none-any.whl", steps: Sequence[str] = (), **parts: Any) -> Manifest:
    """Return a wheel's manifest; a step whose name begins with `quantize` is lossy."""
    before = totals([entry.before for entry in entries if entry.before is not None])
    after = totals([entry.after for entry in entries if entry.after is not None])
    return Manifest(
        generator="hatch-mlbundle 0.1.0",
        artifact=ArtifactRow(name=name, kind="wheel", before=before, after=after),
        tools=(ToolRow(name="python", version="3.11"), ToolRow(name="zlib", version="1.3.1")),
        configuration=parts.pop("configuration", {"optimizers": list(steps), "strict": False}),
        steps=tuple(step(at, each, entries, lossless=not each.startswith("quantize")) for at, each in enumerate(steps)),
        remainder=Saved(installed=0, compressed=0),
        files=tuple(row(entry) for entry in sorted(entries, key=lambda entry: entry.path)),
        companions=parts.pop("companions", ()),
        findings=parts.pop("findings", ()),
        **parts,
    )


def unchanged(path: str, size: int, **parts: Any) -> Entry:
    return Entry(path=path, before=size, after=size, **parts)


def hostile_manifest() -> Manifest:
    """Return a manifest whose names, owners, kinds and texts are hostile throughout."""
    entries = [unchanged(f"{name}/{name}", 1_000 + at, kind=name, owner=name, sha256="same") for at, name in enumerate(HOSTILE)]
    entries += [unchanged(f"copies/{name}", 5_000, sha256="copy") for name in HOSTILE]
    nasty = HOSTILE[0]
    return manifest_of(
        entries,
        name=f"{nasty}-1.0.whl",
        steps=HOSTILE[:3],
        findings=tuple(Finding(code=name[:20], message=name, path=entries[at].path, optimizer=name) for at, name in enumerate(HOSTILE)),
        contents=tuple(ContentsRow(path=entry.path, view="sections", parts={nasty: entry.after or 0}) for entry in entries[:4]),
        removable=tuple(
            RemovableRow(
                path=entry.path,
                strip=StripRow(symbols=1, debug=1, remarks=1, saves=3, refusal=nasty),
                gpu=GpuCodeRow(
                    licence=nasty,
                    keeping=tuple(KeepingRow(targets=(name,), serves=True, drops=9, saves=8, with_strip=9) for name in HOSTILE[:3]),
                    refusal=nasty,
                ),
            )
            for entry in entries[:4]
        ),
        suggestions=(
            SuggestionRow(optimizer=nasty, lossless=True, files=1, saved=Saved(installed=1, compressed=None), configuration=nasty),
        ),
        details=(DetailRow(step=0, path=entries[0].path, detail={"setting": nasty, "search": TRIALS, "tensors": [tensor(nasty, 10, 5)]}),),
        packed=(PackedRow(name=nasty, format=nasty, size=1, sha256="0"),),
        configuration={nasty: nasty},
    )


def tensor(name: str, before: int, after: int) -> dict[str, Any]:
    sqnr = None if before == after else 41.24
    return {"name": name, "shape": [before // 4, 4], "before": "F32", "after": "I8 by row", "size": [before, after], "sqnr": sqnr}


def trial(setting: str, size: int, value: float | None, *, keeps: bool, worst: float | None = None) -> dict[str, Any]:
    return {"setting": setting, "size": size, "metric": "cosine", "value": value, "worst": worst, "keeps": keeps}


TRIALS = [
    trial("I8 by row", 23_000_000, 0.998123, keeps=False, worst=0.991234),
    trial("I8 in groups of 32", 26_000_000, 0.99991, keeps=True, worst=0.9991),
    trial("I8 by row, 3 tensors I8 in groups of 32", 24_000_000, 0.99951, keeps=True, worst=0.996),
    trial("I8 by row, 1 tensor I8 in groups of 32", 23_400_000, None, keeps=False),
    trial("F16", 45_000_000, 0.999999, keeps=True, worst=0.999998),
]

ENTRIES = (
    Entry(path="app/libs/libcore.so", kind="elf", before=40_000_000, after=31_000_000, step=1),
    Entry(path="app/libs/libgpu.so", kind="elf", owner="gpu", before=90_000_000, after=88_500_000, step=1),
    Entry(path="app/model/model.safetensors", kind="model", before=91_000_000, after=24_000_000, step=2),
    Entry(path="app/tests/test_all.py", kind="python", before=60_000, step=0),
    Entry(path="app/tests/data.bin", before=3_000_000, step=0),
    Entry(path="app/model/config.json", kind="data", after=700, step=2),
    unchanged("app/__init__.py", 1_200, kind="python"),
    unchanged("app/moved/table.bin", 500_000),
    unchanged("app/copy/a.bin", 250_000, sha256="twin"),
    unchanged("app/copy/b.bin", 250_000, sha256="twin"),
    unchanged("app/copy/c.bin", 250_000, sha256="twin"),
    unchanged("numpy/core.so", 7_000_000, kind="elf", owner="numpy"),
    unchanged("numpy-2.1.dist-info/METADATA", 3_000, kind="metadata", owner="numpy"),
    unchanged("empty", 0),
)


def full_manifest() -> Manifest:
    """Return a manifest with something in every part."""
    weights = {
        "setting": "int8",
        "sqnr": 41.2,
        "tensors": [tensor("encoder.weight", 90_000_000, 23_400_000), tensor("bias", 1_000_000, 600_000)],
    }
    return manifest_of(
        ENTRIES,
        steps=("test_data", "strip", "quantize", "deduplicate"),
        configuration={"optimizers": ["test_data"], "accuracy": {"metric": "cosine", "at-least": 0.9995}},
        details=(DetailRow(step=2, path="app/model/model.safetensors", detail={**weights, "search": TRIALS}),),
        contents=(
            ContentsRow(
                path="app/libs/libcore.so", view="sections", parts={".text": 20_000_000, ".rodata": 9_000_000, "(padding)": 2_000_000}
            ),
            ContentsRow(path="numpy/core.so", view="sections", parts={".text": 5_000_000, "(headers)": 2_000_000}),
            ContentsRow(path="app/libs/libgpu.so", view="gpu", parts={"sm_90": 50_000_000, "sm_80": 20_000_000, "ptx_80": 5_000_000}),
            ContentsRow(path="app/model/model.safetensors", view="tensors", parts={"I8": 23_400_000, "F32": 600_000}),
        ),
        removable=(
            RemovableRow(
                path="app/libs/libgpu.so",
                strip=StripRow(symbols=900_000, debug=100_000, remarks=100, saves=1_000_000),
                gpu=GpuCodeRow(
                    licence="MIT",
                    keeping=(
                        KeepingRow(targets=("8.0",), serves=True, drops=56_000_000, saves=55_000_000, with_strip=56_000_000),
                        KeepingRow(targets=("9.0",), serves=True, drops=26_000_000, saves=25_000_000, with_strip=26_000_000),
                    ),
                ),
            ),
            RemovableRow(path="app/libs/libcore.so", strip=StripRow(symbols=2_000_000, debug=0, remarks=0, saves=2_000_000), gpu=None),
            RemovableRow(
                path="numpy/core.so",
                strip=None,
                gpu=GpuCodeRow(
                    licence="",
                    keeping=(
                        KeepingRow(targets=("8.0",), serves=True, drops=400_000, saves=0, with_strip=0),
                        KeepingRow(targets=("9.0",), serves=True, drops=500_000, saves=0, with_strip=0),
                    ),
                    refusal="a program, or a library that is one, too",
                ),
            ),
        ),
        findings=(
            Finding(code="MB103", message="it no longer loads: undefined symbol: init", path="app/libs/libcore.so", optimizer="strip"),
            Finding(code="MB001", message="mlbundle is not the last build hook"),
        ),
        suggestions=(
            SuggestionRow(
                optimizer="upx",
                lossless=True,
                files=3,
                saved=Saved(installed=56_000_000, compressed=None),
                configuration='optimizers = [\n  "upx",\n]',
            ),
            SuggestionRow(
                optimizer="quantize",
                lossless=False,
                files=1,
                saved=Saved(installed=12_000_000, compressed=9_000_000),
                configuration='[tool.mlbundle.quantize]\ndtype = "int8"',
            ),
        ),
        packed=(PackedRow(name="app.tar.zst", format="tar.zst", size=60_000_000, sha256="a" * 64),),
        companions=(CompanionRow(path="libcore.so.debug", size=9_000_000, sha256="b" * 64),),
    )


def baseline_manifest() -> Manifest:
    """Return the release before `full_manifest`: a file less, one elsewhere, an older numpy."""
    former = [
        unchanged("app/libs/libcore.so", 30_000_000, kind="elf"),
        unchanged("app/libs/libgpu.so", 88_500_000, kind="elf", owner="gpu"),
        unchanged("app/model/model.safetensors", 24_000_000, kind="model"),
        unchanged("app/__init__.py", 1_200, kind="python"),
        unchanged("app/table.bin", 500_000, sha256="app/moved/table.bin:500000"),
        unchanged("app/old.bin", 2_000_000),
        unchanged("numpy/core.so", 6_500_000, kind="elf", owner="numpy"),
        unchanged("numpy-2.0.dist-info/METADATA", 3_000, kind="metadata", owner="numpy"),
    ]
    return manifest_of(former, name="app-1.0-py3-none-any.whl")


BUDGET = BudgetCheck(
    artifact="app-2.0-py3-none-any.whl",
    baseline="app-1.0-py3-none-any.whl",
    results=(
        LimitResult(
            limit="installed", key="installed", unit="bytes", allowed=150e6, actual=151_755_900, status="over", note="gpu: 88.5 MB"
        ),
        LimitResult(limit="growth", key="growth", unit="percent", allowed=5, actual=0.2, status="ok"),
        LimitResult(
            limit="files", key="files", unit="files", allowed=10, actual=12, status="overridden", reason="until the next release", up_to=20
        ),
        LimitResult(
            limit="startup", key="startup", unit="seconds", allowed=2, actual=None, status="unmeasured", note="it was not verified"
        ),
    ),
    findings=(Finding(code="MB402", message="startup was not measured"),),
)


def many_files(count: int) -> Manifest:
    """Return a manifest of that many files in a tree such as real bundles have."""
    entries = [
        unchanged(
            f"package_{at % 97}/module_{at % 1009}/part_{at * 7919 % 10007}_{at}.{('py', 'so', 'bin')[at % 3]}",
            (at * 7_368_787) % 700_001,
            kind=("python", "elf", "data")[at % 3],
            owner=f"package_{at % 97}",
        )
        for at in range(count)
    ]
    return manifest_of(entries)
