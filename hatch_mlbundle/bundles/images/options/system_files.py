"""Packages of the distribution that only a build needs, and documentation that nobody reads in a container."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Iterator, Sequence

from hatch_mlbundle.manifest import EditRow
from hatch_mlbundle.units import format_size

from .evidence import Evidence, Option
from .instructions import Instruction, about, folded

_TOOLS = re.compile(
    r".+-dev(?:-\d+(?:-\d+)?)?"
    r"|(?:gcc|g\+\+|gfortran|cpp|clang|llvm)(?:-\d+)?(?:-(?:x86-64|aarch64)-linux-gnu)?"
    r"|binutils(?:-common|-(?:x86-64|aarch64)-linux-gnu)?"
    r"|lib(?:asan|hwasan|lsan|tsan|ubsan|itm|cc1-|gprofng|binutils|ctf-nobfd|ctf)\d*"
    r"|build-essential|dpkg-dev|libc-dev-bin|linux-libc-dev|rpcsvc-proto|make|cmake(?:-data)?|ninja-build|meson|autoconf|automake|libtool|patch"
    r"|git|git-man|mercurial|subversion|rustc|cargo|golang-.+|gdb|valgrind|strace"
    r"|cuda-(?:nvcc|nvvm|crt|gdb|nsight|nsight-.+|sanitizer|cuobjdump|nvdisasm|nvprune|nvprof|nvvp|compiler|toolkit|tools|command-line-tools)-\d.*"
    r"|nsight-.+"
)
"""Packages of Debian, Ubuntu and NVIDIA for compilers, linkers and developers; `libgcc-s1` and the like, which programs need, are not."""
_DOCS = re.compile(
    r"(usr/(?:local/)?share/(?:doc|man|info|locale|gtk-doc|help|lintian|linda|groff))/.*(?<!/copyright)(?<!/locale/locale\.alias)"
)
"""What Debian's own images called `-slim` leave out (github.com/debuerreotype/debuerreotype, `.slimify-excludes`); licences stay."""
_EXCLUDED = ("doc", "man", "info", "locale", "groff", "lintian", "linda")
_APT = re.compile(r"\bapt(?:-get)?\b.*\binstall\b|\bdpkg -i\b")
_APT_INSTALL = re.compile(r"(apt(?:-get)?\b.*? install)((?: \S+)+)")
_NAMED = 6


def system_options(evidence: Evidence) -> Iterator[Option]:
    """Yield what the distribution's packages bring that a running application does without."""
    yield from _tools(evidence)
    yield from _docs(evidence)


def _tools(evidence: Evidence) -> Iterator[Option]:
    paths = [path for path in evidence.paths if "site-packages/" not in path and _TOOLS.fullmatch(evidence.bundle[path].owner)]
    freed = evidence.freed(paths)
    if freed:
        yield Option(
            name="build-tools",
            title="Compile in a stage of its own",
            freed=freed,
            pros=(f"What is not there has no flaws to be patched: {_largest(evidence, paths)}.",),
            cons=("Code that compiles while it runs (torch.compile, Triton, Numba's C extensions) needs a compiler: keep gcc for it.",),
            edits=(EditRow(where="Dockerfile", text="\n".join(_stages(evidence, paths))),),
        )


def _largest(evidence: Evidence, paths: Sequence[str]) -> str:
    sizes: defaultdict[str, int] = defaultdict(int)
    for path in paths:
        sizes[evidence.bundle[path].owner] += evidence.seen[path].size
    ordered = sorted(sizes, key=lambda owner: (-sizes[owner], owner))
    rest = f" and {len(ordered) - _NAMED:,} more packages" if len(ordered) > _NAMED else ""
    return ", ".join(f"{owner} {format_size(sizes[owner])}" for owner in ordered[:_NAMED]) + rest


def _stages(evidence: Evidence, paths: Sequence[str]) -> Iterator[str]:
    """Yield the lines of two stages: the instructions that bring tools go into the first, and what they build is copied."""
    layers = list(evidence.by_layer(paths))
    base = [number for number in layers if evidence.made_by(number).verb != "RUN"]
    yield "FROM BASE AS build"
    for number in layers:
        made = evidence.made_by(number)
        if number not in base and made.text.isprintable():
            yield folded(f"RUN {made.text}")
    yield "# ... and every instruction that compiles something"
    yield ""
    yield "FROM BASE"
    for number in layers:
        if number not in base and (without := _without_tools(evidence.made_by(number))):
            yield folded(without)
    for prefix in python_prefixes(evidence):
        place = shlex.quote(f"/{prefix}")
        yield f"COPY --from=build {place} {place}"
    for number in base:
        yield f"{about(number, evidence.made_by(number))}"
        yield "# has some of them: take a base without, such as python:3.12-slim, or nvidia/cuda:...-runtime for -devel"


def _without_tools(made: Instruction) -> str | None:
    """Return the instruction as it installs no tools; None where it installs nothing else, or where that cannot be told."""
    commands, installs = list[str](), False
    for command in made.commands:
        if match := _APT_INSTALL.fullmatch(command):
            words = match[2].split()
            kept = [word for word in words if not _TOOLS.fullmatch(re.split("[=:/]", word)[0])]
            if all(word.startswith("-") for word in kept):
                continue
            installs = True
            flag = [] if len(kept) < len(words) or "--no-install-recommends" in command else ["--no-install-recommends"]
            command = " ".join([match[1], *flag, *kept])
        commands.append(command)
    return f"RUN {' && '.join(commands)}" if installs else None


def python_prefixes(evidence: Evidence) -> list[str]:
    """Return the folders that Python packages were installed to, as `sys.prefix` has them: `opt/venv`, `usr/local`."""
    found = set()
    for path in evidence.paths:
        place = path.find("/site-packages/")
        if place > 0 and (match := re.fullmatch(r"(.+)/lib/python\d+\.\d+", path[:place])) and match[1].isprintable():
            found.add(match[1])
    return sorted(found)


def _docs(evidence: Evidence) -> Iterator[Option]:
    paths = [path for path in evidence.paths if _DOCS.fullmatch(path)]
    if freed := evidence.freed(paths):
        yield Option(
            name="documentation",
            title="Leave manuals and translations out",
            freed=freed,
            pros=("Licences (`copyright`) stay. Debian's own -slim images leave out the same.",),
            cons=("Programs speak English only, and `man` finds nothing.",),
            edits=tuple(_docs_edits(evidence, paths)),
        )


def _docs_edits(evidence: Evidence, paths: Sequence[str]) -> Iterator[EditRow]:
    layers = evidence.by_layer(paths)
    by_apt = [number for number in layers if evidence.made_by(number).verb == "RUN" and _APT.search(evidence.made_by(number).text)]
    if by_apt:
        patterns = " ".join(f"'/usr/share/{name}/*'" for name in _EXCLUDED)
        lines = [
            f"# before layer {by_apt[0]}, which installs packages of Debian or Ubuntu:",
            "RUN { printf 'path-exclude=%s\\n' \\",
            f" {patterns} \\",
            " && printf 'path-include=%s\\n' '/usr/share/doc/*/copyright' \\",
            " '/usr/share/locale/locale.alias'; } > /etc/dpkg/dpkg.cfg.d/01-no-docs",
        ]
        yield EditRow(where="Dockerfile", text="\n".join(lines))
    lines = []
    for number, names in layers.items():
        if number in by_apt:
            continue
        made, folders = evidence.made_by(number), sorted({match[1] for name in names if (match := _DOCS.fullmatch(name))})
        remove = f"find {' '.join(f'/{each}' for each in folders)} ! -type d ! -name copyright ! -name locale.alias -delete"
        lines.append(evidence.changed(number, made.followed_by(remove), remove))
        if made.verb != "RUN" and any(file.owner == "debian-archive-keyring" for file in evidence.bundle.values()):
            lines.append("# or build on what has none of it, such as debian:bookworm-slim")
    if lines:
        yield EditRow(where="Dockerfile", text="\n".join(lines))
