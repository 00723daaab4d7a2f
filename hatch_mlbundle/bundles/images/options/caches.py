"""What programs keep to be faster the next time: in an image there is no next time."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hatch_mlbundle.bundles.images.caches import Caches
from hatch_mlbundle.manifest import EditRow

from .evidence import Evidence, Option
from .instructions import Instruction, instead_of

PIP_INSTALL = re.compile(r"(?<![\w./-])(?:\S*/)?(?:pip[\d.]*|python[\d.]* -m pip) install\b")
_MOST = 20
"""Folders of one cache that are named, each of another user."""
_TEMPORARY = re.compile(r"(tmp|var/tmp|var/log)/.+")
_DOWNLOADS = ("A build downloads again what the cache had; with the mount it does not.",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """How a cache is left out: by `flag` behind `program`, else by `clean` at the end; `program` is a regular expression.

    `caches` are the names that the places of it have. `mounted` says whether a build may mount the folder from outside instead
    (docs.docker.com, "Optimize cache usage in builds"), `emptied` that the system expects the folders themselves to be there.
    """

    name: str
    what: str
    caches: tuple[str, ...] = ()
    program: str = r"(?!)"
    flag: str = ""
    clean: str = ""
    mounted: bool = True
    emptied: bool = False
    cons: tuple[str, ...] = _DOWNLOADS


_OTHERS = Remedy(
    name="other-caches",
    what="other caches",
    mounted=False,
    cons=("What was put there to make the first start quick (fonts, compiled kernels) is made again at each start.",),
)
_TEMPORARY_FILES = Remedy(
    name="temporary-files",
    what="temporary files and logs",
    mounted=False,
    cons=("A program may expect a log of its own to be there.",),
    emptied=True,
)
_REMEDIES = (
    Remedy(name="pip-cache", what="pip's cache", caches=("pip",), program=PIP_INSTALL.pattern, flag="--no-cache-dir"),
    Remedy(
        name="uv-cache",
        what="uv's cache",
        caches=("uv",),
        program=r"\buv (?:pip install|pip sync|sync|run|tool install|add)\b",
        flag="--no-cache",
    ),
    Remedy(
        name="poetry-cache",
        what="Poetry's cache",
        caches=("Poetry",),
        program=r"\bpoetry (?:install|add|sync)\b",
        flag="--no-cache",
    ),
    Remedy(
        name="conda-packages",
        what="conda's package cache",
        caches=("conda",),
        program=r"\b(?:conda|mamba|micromamba) (?:env )?(?:install|create|update)\b",
        clean="{program} clean -afy",
    ),
    Remedy(
        name="apt-lists",
        what="apt's lists and archives",
        caches=("apt", "apt lists"),
        program=r"\bapt(?:-get)?\b.*?\b(?:install|update|upgrade)\b",
        clean="apt-get clean && rm -rf /var/lib/apt/lists/*",
        cons=("Who installs something in the container later on runs `apt-get update` first.",),
        emptied=True,
    ),
    Remedy(
        name="dnf-cache",
        what="dnf's cache",
        caches=("dnf", "yum"),
        program=r"\b(?:microdnf|dnf|yum)\b.*?\binstall\b",
        clean="{program} clean all",
        emptied=True,
    ),
    Remedy(name="apk-cache", what="apk's cache", caches=("apk",), program=r"\bapk add\b", flag="--no-cache", emptied=True),
    Remedy(
        name="npm-cache",
        what="npm's cache",
        caches=("npm",),
        program=r"\bnpm (?:install|ci|i)\b",
        clean="npm cache clean --force",
    ),
    Remedy(name="yarn-cache", what="Yarn's cache", caches=("yarn",), program=r"\byarn\b", clean="yarn cache clean"),
    Remedy(name="cargo-cache", what="Cargo's downloads", caches=("cargo",), program=r"\bcargo\b"),
    Remedy(
        name="go-cache",
        what="Go's caches",
        caches=("Go", "Go modules"),
        program=r"\bgo (?:build|install|get|mod)\b",
        clean="go clean -cache -modcache",
    ),
    Remedy(
        name="xet-cache",
        what="the chunk cache of Hugging Face",
        caches=("Hugging Face chunks",),
        program=r"\b(?:hf|huggingface-cli)\b",
    ),
    _OTHERS,
    _TEMPORARY_FILES,
)
_BY_CACHE = {cache: remedy for remedy in _REMEDIES for cache in remedy.caches}


def cache_options(evidence: Evidence) -> Iterator[Option]:
    """Yield an option for each program that left its cache behind."""
    caches = Caches(evidence.seen)
    found: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for path in evidence.paths:
        if cache := caches.holding(path):
            remedy, place = _BY_CACHE.get(cache.name, _OTHERS), "" if cache.of_models else cache.place
        else:
            match = _TEMPORARY.fullmatch(path)
            remedy, place = _TEMPORARY_FILES, match[1] if match else ""
        if place and place.isprintable():
            found[remedy.name][path] = place
    for remedy in _REMEDIES:
        places = found[remedy.name]
        if freed := evidence.freed(places):
            yield Option(
                name=remedy.name,
                title=f"Leave {remedy.what} out",
                freed=freed,
                pros=("Nothing that runs in the container needs it.",),
                cons=remedy.cons,
                edits=tuple(_edits(evidence, remedy, places)),
            )


def _edits(evidence: Evidence, remedy: Remedy, places: Mapping[str, str]) -> Iterator[EditRow]:
    """Yield the lines; `places` are the folders of the cache by the paths in it."""
    lines, mounts = list[str](), list[str]()
    for number, names in evidence.by_layer(places).items():
        folders = sorted({places[name] for name in names})[:_MOST]
        made = evidence.made_by(number)
        quoted = " ".join(shlex.quote(f"/{each}") for each in folders)
        remove = f"find {quoted} ! -type d -delete" if remedy.emptied else f"rm -rf {quoted}"
        lines.append(evidence.changed(number, _without(remedy, made, remove), remove))
        if remedy.mounted and made.can_be_extended and re.search(remedy.program, made.text):
            flags = " ".join(f"--mount=type=cache,target={shlex.quote(f'/{each}')},sharing=locked" for each in folders)
            mounts.append(instead_of(number, made, f"RUN {flags} {made.text}"))
    yield EditRow(where="Dockerfile", text="\n".join(lines))
    if mounts:
        first = "# or, so that the cache stays with the builder (BuildKit, buildah 1.24 and later):"
        yield EditRow(where="Dockerfile", text="\n".join([first, *mounts]))


def _without(remedy: Remedy, made: Instruction, remove: str) -> str | None:
    """Return the instruction as it leaves no cache behind, None where that cannot be told."""
    used = re.search(remedy.program, made.text)
    if used and remedy.flag:
        return made.with_flag(re.compile(remedy.program), remedy.flag) or made.followed_by(remove)
    if used and remedy.clean:
        return made.followed_by(remedy.clean.format(program=used[0].split()[0]))
    return made.followed_by(remove)
