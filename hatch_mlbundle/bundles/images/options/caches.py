"""What programs keep to be faster the next time: in an image there is no next time."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hatch_mlbundle.manifest import EditRow

from .evidence import Evidence, Option
from .instructions import Instruction, instead_of

_MAYBE = re.compile(r"(?:^|/)(?:\.?cache|pkgs|registry|\.npm|mod|lists)/|^(?:tmp|var)/")
"""What every cache has in its path: most files have not, and a dozen expressions take their time."""
_IN_HOME = r"(?:.*/)?\.cache"
PIP_INSTALL = re.compile(r"(?<![\w./-])(?:\S*/)?(?:pip[\d.]*|python[\d.]* -m pip) install\b")
_MOST = 20
"""Folders of one cache that are named, each of another user."""
_DOWNLOADS = ("A build downloads again what the cache had; with the mount it does not.",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """A cache by the folder that it is in, and how the program leaves it out: `flag` behind `program`, else `clean` at the end.

    `folder` and `program` are regular expressions. `mounted` says whether a build may mount the folder from outside instead
    (docs.docker.com, "Optimize cache usage in builds"), `emptied` that the system expects the folders themselves to be there.
    """

    name: str
    what: str
    folder: str
    program: str = r"(?!)"
    flag: str = ""
    clean: str = ""
    mounted: bool = True
    emptied: bool = False
    cons: tuple[str, ...] = _DOWNLOADS

    def place(self, path: str) -> str | None:
        """Return the folder of the cache that a file is in, None where it is in none of this sort, or where a line cannot name it."""
        match = re.fullmatch(f"({self.folder})/.+", path)
        return match[1] if match and match[1].isprintable() else None


CACHES = (
    Cache(
        name="pip-cache",
        what="pip's cache",
        folder=rf"{_IN_HOME}/pip",
        program=PIP_INSTALL.pattern,
        flag="--no-cache-dir",
    ),
    Cache(
        name="uv-cache",
        what="uv's cache",
        folder=rf"{_IN_HOME}/uv",
        program=r"\buv (?:pip install|pip sync|sync|run|tool install|add)\b",
        flag="--no-cache",
    ),
    Cache(
        name="poetry-cache",
        what="Poetry's cache",
        folder=rf"{_IN_HOME}/pypoetry",
        program=r"\bpoetry (?:install|add|sync)\b",
        flag="--no-cache",
    ),
    Cache(
        name="conda-packages",
        what="conda's package cache",
        folder=r"(?:.*/)?(?:[\w.-]*(?:conda|mamba|miniforge)[\w.-]*)/pkgs",
        program=r"\b(?:conda|mamba|micromamba) (?:env )?(?:install|create|update)\b",
        clean="{program} clean -afy",
    ),
    Cache(
        name="apt-lists",
        what="apt's lists and archives",
        folder=r"var/lib/apt/lists|var/cache/apt",
        program=r"\bapt(?:-get)?\b.*?\b(?:install|update|upgrade)\b",
        clean="apt-get clean && rm -rf /var/lib/apt/lists/*",
        cons=("Who installs something in the container later on runs `apt-get update` first.",),
        emptied=True,
    ),
    Cache(
        name="dnf-cache",
        what="dnf's cache",
        folder=r"var/cache/(?:dnf|libdnf5|yum)",
        program=r"\b(?:microdnf|dnf|yum)\b.*?\binstall\b",
        clean="{program} clean all",
        emptied=True,
    ),
    Cache(
        name="apk-cache",
        what="apk's cache",
        folder=r"var/cache/apk|etc/apk/cache",
        program=r"\bapk add\b",
        flag="--no-cache",
        emptied=True,
    ),
    Cache(
        name="npm-cache",
        what="npm's cache",
        folder=r"(?:.*/)?\.npm",
        program=r"\bnpm (?:install|ci|i)\b",
        clean="npm cache clean --force",
    ),
    Cache(name="yarn-cache", what="Yarn's cache", folder=rf"{_IN_HOME}/yarn", program=r"\byarn\b", clean="yarn cache clean"),
    Cache(name="cargo-cache", what="Cargo's downloads", folder=r"(?:.*/)?\.?cargo/registry", program=r"\bcargo\b"),
    Cache(
        name="go-cache",
        what="Go's caches",
        folder=rf"{_IN_HOME}/go-build|(?:.*/)?go/pkg/mod",
        program=r"\bgo (?:build|install|get|mod)\b",
        clean="go clean -cache -modcache",
    ),
    Cache(
        name="xet-cache",
        what="the chunk cache of Hugging Face",
        folder=rf"{_IN_HOME}/huggingface/xet",
        program=r"\b(?:hf|huggingface-cli)\b",
    ),
    Cache(
        name="other-caches",
        what="other caches",
        folder=rf"{_IN_HOME}/(?!huggingface/|torch/|whisper/|clip/|modelscope/)[^/]+|(?:.*/)?\.triton/cache|(?:.*/)?\.nv/ComputeCache",
        mounted=False,
        cons=("What was put there to make the first start quick (fonts, compiled kernels) is made again at each start.",),
    ),
    Cache(
        name="temporary-files",
        what="temporary files and logs",
        folder=r"tmp|var/tmp|var/log",
        mounted=False,
        cons=("A program may expect a log of its own to be there.",),
        emptied=True,
    ),
)
"""From where the programs say, in their documentation, that they keep things; a home folder may be anywhere."""


def cache_options(evidence: Evidence) -> Iterator[Option]:
    """Yield an option for each program that left its cache behind."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in evidence.paths:
        if cache := cache_of(path):
            found[cache.name].append(path)
    for cache in CACHES:
        if freed := evidence.freed(found[cache.name]):
            yield Option(
                name=cache.name,
                title=f"Leave {cache.what} out",
                freed=freed,
                pros=("Nothing that runs in the container needs it.",),
                cons=cache.cons,
                edits=tuple(_edits(evidence, cache, found[cache.name])),
            )


def cache_of(path: str) -> Cache | None:
    """Return the cache that a file is in, None where it is in none."""
    return next((cache for cache in CACHES if cache.place(path)), None) if _MAYBE.search(path) else None


def _edits(evidence: Evidence, cache: Cache, paths: Sequence[str]) -> Iterator[EditRow]:
    lines, mounts = list[str](), list[str]()
    for number, names in evidence.by_layer(paths).items():
        folders = sorted({place for name in names if (place := cache.place(name))})[:_MOST]
        made = evidence.made_by(number)
        quoted = " ".join(shlex.quote(f"/{each}") for each in folders)
        remove = f"find {quoted} ! -type d -delete" if cache.emptied else f"rm -rf {quoted}"
        lines.append(evidence.changed(number, _without(cache, made, remove), remove))
        if cache.mounted and made.can_be_extended and re.search(cache.program, made.text):
            flags = " ".join(f"--mount=type=cache,target={shlex.quote(f'/{each}')},sharing=locked" for each in folders)
            mounts.append(instead_of(number, made, f"RUN {flags} {made.text}"))
    yield EditRow(where="Dockerfile", text="\n".join(lines))
    if mounts:
        first = "# or, so that the cache stays with the builder (BuildKit, buildah 1.24 and later):"
        yield EditRow(where="Dockerfile", text="\n".join([first, *mounts]))


def _without(cache: Cache, made: Instruction, remove: str) -> str | None:
    """Return the instruction as it leaves no cache behind, None where that cannot be told."""
    used = re.search(cache.program, made.text)
    if used and cache.flag:
        return made.with_flag(re.compile(cache.program), cache.flag) or made.followed_by(remove)
    if used and cache.clean:
        return made.followed_by(cache.clean.format(program=used[0].split()[0]))
    return made.followed_by(remove)
