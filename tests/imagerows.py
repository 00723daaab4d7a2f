"""Rows of a manifest that only images have, with names that want to be more than names."""

from __future__ import annotations

from dataclasses import replace

from hatch_mlbundle.manifest import AdviceRow, ComponentKind, ComponentRow, EditRow, LayerRow, Manifest, Saved
from tests.manifests import manifest_of

HOSTILE = "\x1b[31m[red]<img src=x onerror=alert(1)>`|@all\n# x\u202e"


def component(name: str, size: int, kind: ComponentKind = "package", version: str = "1.0", detail: str = "") -> ComponentRow:
    return ComponentRow(
        name=name, kind=kind, version=version, detail=detail, files=1, installed=size, compressed=size // 2 + 1, layers=(1,)
    )


def option(name: str, saved: int, adds: int | None = None, text: str = "RUN pip install --no-cache-dir a") -> AdviceRow:
    sizes = [Saved(installed=size, compressed=size // 2) for size in (saved, saved if adds is None else adds)]
    edits = (EditRow(where="Dockerfile", text=text), EditRow(where="sh", text="# or\nmlbundle optimize a -o b"))
    return AdviceRow(
        name=name, title=f"Do {name}", saved=sizes[0], adds=sizes[1], files=3, pros=("It `saves`.",), cons=("It costs.",), edits=edits
    )


def image_manifest(files: int = 4) -> Manifest:
    """Return the manifest of an image with a component a file, and three options that save some of the same bytes."""
    sizes = {f"f{at}": bytes(1000 * (at + 1)) for at in range(files)}
    manifest = manifest_of(sizes, kind="image", packs=True, structure=700)
    kinds: list[ComponentKind] = ["package", "system", "model", "package"]
    rows = [component(name, len(data), kinds[at % 4]) for at, (name, data) in enumerate(sizes.items())]
    total = sum(row.installed for row in rows)
    layer = LayerRow(
        digest=f"sha256:{'0' * 64}",
        created_by="RUN x",
        size=total // 2,
        files=files,
        installed=total,
        compressed=total // 2,
        hidden_installed=500,
        hidden_compressed=250,
    )
    advice = (option("one", 4000), option("two", 3000, 1000), option("three", 0))
    return replace(manifest, components=tuple(rows), layers=(layer,), advice=advice)


def hostile_manifest() -> Manifest:
    """Return one in which every text is hostile."""
    manifest = image_manifest()
    rows = tuple(replace(row, name=HOSTILE + row.name, version=HOSTILE, detail=HOSTILE * 9) for row in manifest.components)
    edits = (EditRow(where=HOSTILE, text=f"{HOSTILE}\n```\n~~~\n</pre></script>"),)
    advice = tuple(replace(row, title=HOSTILE, pros=(HOSTILE,), cons=(HOSTILE * 20,), edits=edits) for row in manifest.advice)
    return replace(manifest, components=rows, advice=advice)
