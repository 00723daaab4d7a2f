"""Keep a CycloneDX document right when files that it tells of are dropped or changed (CycloneDX 1.2 to 1.6, JSON).

Of all that a document may hold, only what is known to be wrong is touched: components whose files are gone, hashes of files that have
other bytes now, and references to components that went.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from hatch_mlbundle.model import File

from .changes import FileChanges, hash_of
from .grafted import auditwheel_fragments, is_grafted

_Object: TypeAlias = dict[str, Any]

_REFERENCES = frozenset({"dependsOn", "provides", "assemblies", "dependencies", "subjects"})
"""Keys of lists that name components by their bom-ref."""
_PATH_PROPERTY = re.compile(r"(?:.*:)?(?:path|location)")
"""Properties by which scanners say where they found a component, as `syft:location:0:path`."""
_FRAGMENT = re.compile(r"[0-9a-f]{64}")
_MOST_LINKS = 1 << 20
"""References that are followed from what went to what stays; linked anew, those of a hostile document would be more than memory holds."""


class Updated:
    """A document after the files that it tells of were changed.

    `document` is the object that was given, changed in place; `changed` says whether anything of it was; `known` are the paths of all
    files, dropped ones as well, that its components are about. Raises ValueError or RecursionError for what cannot be put right.
    """

    def __init__(self, document: _Object, changes: FileChanges) -> None:
        self.document = document
        self.changed = False
        self.known: set[str] = set()
        self._changes = changes
        self._links = _MOST_LINKS
        self._hashes: dict[tuple[str, str], str | None] = {}
        self._fragments = {
            fragment: path for path in changes.touched if is_grafted(path) for fragment in auditwheel_fragments(path)
        }  # of a few libraries
        gone = self._pruned(document)
        main = _object(_object(document.get("metadata")).get("component"))
        gone += self._pruned(main)
        self._correct(main)
        if gone:
            self._forget(gone)
        if self.changed and isinstance(document.get("version", 1), int):
            document["version"] = document.get("version", 1) + 1  # as the specification asks of whoever modifies a BOM

    def _pruned(self, parent: _Object) -> list[_Object]:
        """Take the components whose files are gone out of those of a parent, put the others right, and return what went."""
        gone: list[_Object] = []
        staying = []
        for component in _objects(parent.get("components")):
            gone += self._pruned(component)
            if self._is_gone(component):
                gone.append(component)
            else:
                self._correct(component)
                staying.append(component)
        if gone and len(staying) < len(parent.get("components", ())):
            parent["components"] = staying
            self.changed = True
        return gone

    def _is_gone(self, component: _Object) -> bool:
        files = self._files(component)
        return bool(files) and not component.get("components") and self._changes.all_gone(files)

    def _files(self, component: _Object) -> set[str]:
        """Return the paths of the files that a component is known to be about."""
        places = {path for text in _locations(component) if (path := self._changes.found(text))}
        if not places:
            sha256 = (each.get("content") for each in _objects(component.get("hashes")) if each.get("alg") == "SHA-256")
            places = {path for each in sha256 if isinstance(each, str) for path in self._changes.with_sha256(each)}
        fragment = str(component.get("bom-ref", "")).rpartition("#")[2]
        if not places and _FRAGMENT.fullmatch(fragment) and fragment in self._fragments:
            places = {self._fragments[fragment]}
        self.known |= places
        return places

    def _correct(self, component: _Object) -> None:
        """Put the hashes and the places of a component right that stays."""
        files = self._files(component)
        evidence = _object(component.get("evidence"))
        found = evidence.get("occurrences")
        if isinstance(found, list):
            left = [each for each in found if not self._is_dropped(each)]
            if len(left) < len(found):
                evidence["occurrences"] = left
                self.changed = True
        if component.get("hashes"):
            for path in sorted(files & self._changes.touched.keys() & self._changes.after.keys()):
                self._rehash(component, self._changes.before[path], self._changes.after[path])

    def _is_dropped(self, occurrence: object) -> bool:
        location = _object(occurrence).get("location")
        path = self._changes.found(location) if isinstance(location, str) else None
        return path is not None and path not in self._changes.after

    def _rehash(self, component: _Object, before: File, after: File) -> None:
        """Replace the hashes of a file's bytes; those of anything else (the source that it was built from) stay."""
        hashes = []
        for each in _objects(component["hashes"]):
            algorithm, content = str(each.get("alg")), str(each.get("content"))
            if content.lower() != self._hash(before, algorithm):
                hashes.append(each)
            elif new := self._hash(after, algorithm):
                hashes.append({**each, "content": new})
        if hashes != component["hashes"]:
            component["hashes"] = hashes
            self.changed = True

    def _hash(self, file: File, algorithm: str) -> str | None:
        """Return a hash of a file, which is read once for it however many components are about that."""
        key = file.sha256, algorithm
        if key not in self._hashes:
            self._hashes[key] = hash_of(file, algorithm)
        return self._hashes[key]

    def _forget(self, gone: Iterable[_Object]) -> None:
        """Take every reference to components that went out of the document; who depended on one depends on what that one did."""
        still = {str(each.get("bom-ref")) for each in _components(self.document)}
        names = {ref for each in gone if isinstance(ref := each.get("bom-ref"), str) and ref not in still}
        edges = {str(each.get("ref")): each for each in _objects(self.document.get("dependencies"))}
        for ref, edge in edges.items():
            targets = edge.get("dependsOn")
            if isinstance(targets, list) and not names.isdisjoint(each for each in targets if isinstance(each, str)):
                edge["dependsOn"] = self._relinked(targets, edges, names, ref)
        _without(self.document, names)
        about = self.document.get("vulnerabilities")
        if isinstance(about, list):
            self.document["vulnerabilities"] = [each for each in about if _object(each).get("affects") != []]

    def _relinked(self, targets: Iterable[Any], edges: Mapping[str, _Object], gone: Collection[str], start: str) -> list[Any]:
        """Return what is reached from `targets` by way of those that are gone, in order, each once."""
        found: dict[str, None] = {}
        seen: set[str] = set()
        waiting = [*targets][::-1]
        while waiting:
            target = waiting.pop()
            self._links -= 1
            if self._links < 0:
                raise ValueError("too many references to what went")
            if not isinstance(target, str) or target in seen:
                continue
            seen.add(target)
            if target not in gone:
                found[target] = None
                continue
            further = edges.get(target, {}).get("dependsOn")
            waiting += further[::-1] if isinstance(further, list) else []
        found.pop(start, None)
        return list(found)


def updated_text(data: bytes, document: _Object) -> bytes:
    """Return a document's text, written in the manner of the one that it was read from; raises ValueError for what JSON has not (NaN)."""
    indent = None
    if b"\n" in data.strip():
        line = data.strip().split(b"\n")[1]
        indent = max(len(line) - len(line.lstrip()), 1)
    text = json.dumps(document, indent=indent, ensure_ascii=data.isascii(), allow_nan=False)
    end = "\n" if data.endswith(b"\n") else ""
    return (text + end).encode(errors="backslashreplace")


def _locations(component: Mapping[str, Any]) -> Iterator[str]:
    """Yield the texts by which a component says where it is."""
    texts = [each.get("location") for each in _objects(_object(component.get("evidence")).get("occurrences"))]
    if component.get("type") == "file":
        texts.append(component.get("name"))
    texts += [each.get("value") for each in _objects(component.get("properties")) if _PATH_PROPERTY.fullmatch(str(each.get("name")))]
    yield from (text for text in texts if isinstance(text, str))


def _components(document: _Object) -> Iterator[_Object]:
    """Yield all components of a document, the main one as well."""
    waiting = [_object(_object(document.get("metadata")).get("component")), *_objects(document.get("components"))]
    while waiting:
        component = waiting.pop()
        yield component
        waiting += _objects(component.get("components"))


def _without(value: Any, names: Collection[str]) -> None:
    """Take references to these components out of all lists, in place."""
    for key, each in value.items() if isinstance(value, dict) else ():
        if isinstance(each, list):
            value[key] = [one for one in each if _reference(one, named=key in _REFERENCES) not in names]
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _without(each, names)


def _reference(item: object, *, named: bool) -> str | None:
    """Return the component that an item of a list refers to: an object with `ref`, or a text in the lists that are `named` for it."""
    reference = item if named and isinstance(item, str) else _object(item).get("ref")
    return reference if isinstance(reference, str) else None


def _object(value: object) -> _Object:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[_Object]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
