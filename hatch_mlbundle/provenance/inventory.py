"""An SBOM of what a wheel holds beside its project's own code: vendored distributions, grafted libraries, models (CycloneDX 1.6, JSON).

It is written here and not by a library, whose next release might write the same with other bytes.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone
from email.message import Message
from email.parser import BytesHeaderParser
from typing import Any, TypeAlias
from urllib.parse import quote

from hatch_mlbundle.canonical import digest
from hatch_mlbundle.model import Bundle, File
from hatch_mlbundle.models.external import BundledModel, find_models
from hatch_mlbundle.models.weight_files import is_weights

from .grafted import is_grafted, original_name
from .record import Author

NAME = "mlbundle.cdx.json"
"""The SBOM's name in dist-info's `sboms` (PEP 770); `.cdx.json` is what CycloneDX recommends."""

Component: TypeAlias = dict[str, Any]
"""A component as CycloneDX writes it."""

_METADATA = re.compile(r"(?:.*/)?[^/]+(?:\.dist-info/METADATA|\.egg-info/PKG-INFO)")
_SNAPSHOT = re.compile(r"(?:.*/)?models--([^/]+?)--([^/]+)/snapshots/([^/]+)")
"""Where huggingface_hub keeps a revision of a model: the organization, the model and the commit."""
_LARGEST = 1 << 22
"""Bytes of metadata that nothing has."""


def inventory(bundle: Bundle, dist_info: str, author: Author) -> bytes:
    """Return the SBOM of a wheel that holds these files; its project is the main component."""
    own = f"{dist_info}/METADATA"
    project = distribution(bundle[own].read()) or {"name": dist_info.partition("-")[0]}
    main = {"type": "library", "bom-ref": project.get("purl", project["name"]), **project}
    found = {purl: each for purl, each in vendored(bundle, own).items() if purl != main["bom-ref"]}
    return document(main, [*found.values(), *held(bundle)], author)


def document(main: Component, components: Sequence[Component], author: Author) -> bytes:
    """Return a CycloneDX document in which the main component depends on all others, and these on those inside them."""
    edges = [{"ref": main["bom-ref"], "dependsOn": [each["bom-ref"] for each in components]}]
    for each in components:
        below = [inner["bom-ref"] for inner in each.get("components", ())]
        edges.append({"ref": each["bom-ref"], **({"dependsOn": below} if below else {})})
    tool = {"type": "application", "name": author.name, "version": author.version}
    metadata = {**_timestamp(author.moment), "tools": {"components": [tool]}, "component": main}
    rest = {"version": 1, "metadata": metadata, "components": [*components], "dependencies": edges}
    serial = uuid.uuid5(uuid.NAMESPACE_OID, digest(rest))
    head = {"bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": serial.urn}
    return (json.dumps({**head, **rest}, indent=1, ensure_ascii=True) + "\n").encode()


def vendored(bundle: Bundle, own: str = "") -> dict[str, Component]:
    """Return the distributions whose metadata lies somewhere in a bundle, `own` aside, by purl: each once, wherever it is."""
    places: dict[str, list[str]] = {}
    found: dict[str, Component] = {}
    for path, file in sorted(bundle.items()):
        if path == own or not _METADATA.fullmatch(path) or file.link is not None or file.size > _LARGEST:
            continue
        if said := distribution(file.read()):
            places.setdefault(said["purl"], []).append(path)
            found[said["purl"]] = {"type": "library", "bom-ref": said["purl"], **said}
    return {purl: {**found[purl], **_occurrences(places[purl])} for purl in sorted(found)}


def distribution(metadata: bytes) -> Component | None:
    """Return what core metadata says of a distribution, None where it does not say its name and version."""
    headers = BytesHeaderParser().parsebytes(metadata)
    name, version = (str(headers.get(key, "")).strip() for key in ("Name", "Version"))
    if not name or not version:
        return None
    purl = f"pkg:pypi/{quote(name.lower().replace('_', '-'), safe='.')}@{quote(version, safe='.')}"
    return {"name": name, "version": version, **_licence(headers), "purl": purl}


def held(bundle: Bundle) -> Iterator[Component]:
    """Yield the libraries that tools copied into a bundle, and its models."""
    yield from _grafted(bundle)
    yield from _models(bundle)


def library(file: File, name: str) -> Component:
    """Return a native library of which the name alone is known."""
    return {"type": "library", "bom-ref": file.path, "name": name, **_hashes(file), **_occurrences([file.path])}


def _timestamp(moment: int | None) -> dict[str, str]:
    try:
        return {} if moment is None else {"timestamp": f"{datetime.fromtimestamp(moment, timezone.utc):%Y-%m-%dT%H:%M:%SZ}"}
    except (OverflowError, ValueError, OSError):  # no year of four digits
        return {}


def _licence(headers: Message) -> dict[str, Any]:
    """Return the licence where it is an SPDX expression (PEP 639): a free text may be anything."""
    expression = str(headers.get("License-Expression", "")).strip()
    return {"licenses": [{"expression": expression}]} if expression else {}


def _grafted(bundle: Bundle) -> Iterator[Component]:
    for path, file in sorted(bundle.items()):
        if is_grafted(path):
            yield library(file, original_name(path))


def _models(bundle: Bundle) -> Iterator[Component]:
    for model in find_models(bundle):
        inner = {} if model.is_file else {"components": list(_weights(model))}
        hashes = _hashes(model.files[0]) if model.is_file else {}
        known = {"type": "machine-learning-model", "bom-ref": model.path, "name": model.name}
        yield {**known, **_revision(model), **hashes, **_occurrences([model.path]), **inner}


def _revision(model: BundledModel) -> dict[str, str]:
    """Return the version and purl (type huggingface) of a model that huggingface_hub laid down."""
    match = _SNAPSHOT.fullmatch(model.path)
    if match is None:
        return {}
    organization, name, commit = match.groups()
    purl = f"pkg:huggingface/{quote(organization, safe='.')}/{quote(name, safe='.')}@{quote(commit.lower(), safe='')}"
    return {"version": commit, "purl": purl}


def _weights(model: BundledModel) -> Iterator[Component]:
    """Yield the files of a model that hold its weights: what tells how to load them is small, and says less."""
    for file in model.files:
        if is_weights(file):
            yield {"type": "file", "bom-ref": file.path, "name": file.path, **_hashes(file)}


def _hashes(file: File) -> dict[str, Any]:
    return {"hashes": [{"alg": "SHA-256", "content": file.sha256}]}


def _occurrences(paths: Iterable[str]) -> dict[str, Any]:
    return {"evidence": {"occurrences": [{"location": path} for path in paths]}}
