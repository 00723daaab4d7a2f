"""The instructions that made layers, as builders write them into an image's history, and as a Dockerfile has them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from hatch_mlbundle.printable import shortened

_LONGEST = 8_000
"""Characters of what made a layer; a longer one is not told anew."""
_WIDTH = 76
_SHELL = r"/bin/(?:ba|da|a)?sh(?: -\w+(?: pipefail)?)*? -c "
_RUN = re.compile(rf"(?:RUN )?(?:\|\d+ .*? )?{_SHELL}(?!#\(nop\))(.+)", re.DOTALL)
"""What classic Docker, BuildKit and buildah write; `|1 NAME=value` are build arguments, which may be secrets and are not told again."""
_NOP = re.compile(r"/bin/sh -c #\(nop\) +(.+)", re.DOTALL)
_VERB = re.compile(r"(RUN|COPY|ADD) +(.+)", re.DOTALL)
_BLANKS = re.compile(r"""('[^']*'|"(?:\\.|[^"\\])*"|\\.)|\s+""", re.DOTALL)
_HASHED = re.compile(r"(?:file|dir|multi):[0-9a-f]{64} in (.+)")
_QUOTED = re.compile(r"""'[^']*'|"(?:\\.|[^"\\])*"|\\.""")
_CONTROL = re.compile(r"[;|&(){}`]|\$\(")
"""What makes more of a line than commands one after the other (POSIX, "Shell Command Language")."""
_CHAIN = re.compile(r"""('[^']*'|"(?:\\.|[^"\\])*"|\\.)|(\s&&\s)""", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """What made a layer: `verb` is RUN, COPY or ADD, "" where it is none of a Dockerfile; `text` what follows it, or all of it."""

    verb: str
    text: str

    def __str__(self) -> str:
        return f"{self.verb} {self.text}" if self.verb else self.text

    @property
    def can_be_extended(self) -> bool:
        """Whether it runs a command behind which `&& more` means what it says."""
        if self.verb != "RUN" or not self.text.isprintable() or "<<" in self.text or self.text.startswith("["):
            return False
        try:
            words = shlex.split(self.text)
        except ValueError:
            return False
        return not any(word.startswith("#") for word in words) and not self.text.endswith(("&", "\\"))

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands that it runs one after the other, each if those before it did well; none where it is no such chain."""
        if not self.can_be_extended or _CONTROL.search(_QUOTED.sub("", self.text).replace(" && ", " ")):
            return ()
        parts = _CHAIN.sub(lambda match: match[1] or "\n", self.text)
        return tuple(part.strip() for part in parts.split("\n"))

    def followed_by(self, command: str) -> str | None:
        """Return the instruction with a command run after it, None where that cannot be told."""
        return f"RUN {self.text.rstrip('; ')} && {command}" if self.can_be_extended else None

    def with_flag(self, program: re.Pattern[str], flag: str) -> str | None:
        """Return the instruction with a flag behind each match of `program` outside quotes, None where there is none."""
        if not self.can_be_extended or flag in self.text.split():
            return None
        parts = re.split(r"""('[^']*'|"(?:\\.|[^"\\])*")""", self.text)
        new = "".join(part if place % 2 else program.sub(rf"\g<0> {flag}", part) for place, part in enumerate(parts))
        return f"RUN {new}" if new != self.text else None


def parse(created_by: str) -> Instruction:
    """Return the instruction that a history's `created_by` tells of (OCI image specification, config.md, "history")."""
    text = created_by[: _LONGEST + 1].strip().removesuffix("# buildkit").rstrip()
    if len(text) > _LONGEST:
        return Instruction(verb="", text=_one_line(text[:200]))
    if match := _RUN.fullmatch(text):
        return Instruction(verb="RUN", text=_one_line(match[1]))
    if match := _NOP.fullmatch(text):
        text = match[1]
    if match := _VERB.fullmatch(text):
        return Instruction(verb=match[1], text=_one_line(match[2]))
    return Instruction(verb="", text=_one_line(text))


def copied(instruction: Instruction) -> tuple[tuple[str, ...], str] | None:
    """Return what a COPY or ADD copies from the build context, `()` where history does not tell, and where to; None for anything else.

    BuildKit's history does not tell of `--from`: an absolute source is taken for one in another stage.
    """
    if instruction.verb not in ("COPY", "ADD"):
        return None
    if match := _HASHED.fullmatch(instruction.text):
        return (), match[1].strip()
    words = [word for word in instruction.text.split() if not word.startswith("--")]
    if len(words) < 2 or "--from=" in instruction.text or words[0].startswith(("[", "<<", "/")):
        return None
    return tuple(words[:-1]), words[-1]


def folded(line: str) -> str:
    """Return an instruction in lines that fit a terminal where it is a chain of commands, a command a line."""
    if len(line) <= _WIDTH:
        return line
    return _CHAIN.sub(lambda match: match[1] or " \\\n && ", line)


def instead_of(number: int, instruction: Instruction, new: str) -> str:
    """Return the lines of a Dockerfile that say which instruction is replaced, and by what."""
    return f"{about(number, instruction)}\n{folded(new)}"


def about(number: int, instruction: Instruction) -> str:
    """Return a comment that names a layer and what made it."""
    told = shortened(str(instruction), _WIDTH - 20) or "nothing is told of what made it"
    return f"# layer {number}: {told}"


def _one_line(text: str) -> str:
    """Return the text with blanks in a row as one, but for those in quotes: what is left of continued lines."""
    return _BLANKS.sub(lambda match: match[1] or " ", text).strip()
