"""Drop the tests of the packages in a bundle: modules, data and compiled helpers that nothing outside the tests uses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from posixpath import basename, dirname

from hatch_mlbundle.bundles.scripts import entry_scripts
from hatch_mlbundle.importpaths import ImportPaths, installed, module_of
from hatch_mlbundle.model import Bundle, Change, Drop, File, Finding, Keep, Kind
from hatch_mlbundle.optimizer import EVERY_KIND, Context, Json, Optimizer, Options, option
from hatch_mlbundle.pysource import defines_tests, examine_identifiers
from hatch_mlbundle.testfiles import COMPILED, FILES, FOLDERS, PROGRAMS, Candidate, find_suspects, is_licence
from hatch_mlbundle.usage import Usage

_PACKAGES = re.compile(r"(?:^|/)(?:site|dist)-packages/")


@dataclass(frozen=True, kw_only=True)
class TestDataOptions(Options):
    """What is taken for a test."""

    __test__ = False

    folders: tuple[str, ...] = option(
        "Names of folders that hold tests. `testing` is not among them: it is the API that a package offers to the tests of others.",
        default=FOLDERS,
    )
    files: tuple[str, ...] = option(
        "Globs of the names of test modules. Outside test folders such a module is dropped only if it defines tests.",
        default=FILES,
    )
    compiled: tuple[str, ...] = option(
        "Globs of the names (without suffix) of compiled test modules outside test folders; dropped only if a test imports them.",
        default=COMPILED,
    )
    programs: tuple[str, ...] = option(
        "Globs of the names (without `.exe`) of native test programs that lie in packages.", default=PROGRAMS
    )


class TestData(Optimizer[TestDataOptions]):
    """Drops what looks like a test unless something that stays imports it, names it or opens it."""

    __test__ = False

    name = "test_data"
    version = "4"
    artifacts = EVERY_KIND
    options_type = TestDataOptions

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        """Yield a Drop or a Keep, with its reason, for every file that looks like a test, in the order of the paths."""
        options = self.options
        modules = ImportPaths(bundle)
        suspects = find_suspects(bundle, modules, options.folders, options.files, options.compiled, options.programs)
        candidates, kept = suspects.candidates, dict(suspects.spared)
        for path in self._without_tests(context, [bundle[path] for path in suspects.unsure if path in candidates]):
            kept[path] = "called like a test, but defines none, or is a program of its own"
            del candidates[path]
        usage = self._usage(bundle, modules, candidates, context)
        kept |= usage.kept
        kept |= self._untested_binaries(bundle, modules, candidates, kept, context)
        kept |= _licences(candidates, kept)
        for path in sorted({*candidates, *kept}):
            if path in kept:
                yield Keep(path=path, reason=kept[path])
            else:
                yield Drop(path=path, reason=_reason(path, candidates[path]))

    def _without_tests(self, context: Context, files: list[File]) -> list[str]:
        return [path for path, tests in context.examine("tests", files, _examine_tests).items() if not tests]

    def _usage(self, bundle: Bundle, modules: ImportPaths, candidates: Mapping[str, Candidate], context: Context) -> Usage:
        folders = {candidate.folder for candidate in candidates.values() if candidate.folder is not None}
        usage = Usage(bundle, modules, candidates, folders, self._words())
        if candidates:
            untouched = {path: reason for path in candidates if (reason := _untouchable(path, context))}
            usage.trace(context, untouched, entry_scripts(bundle))
        for path, problem in sorted(usage.unread.items()):
            message = (
                f"cannot be parsed ({problem}): the tests that a word in it may name stay; correct the file, or exclude it from the bundle"
            )
            context.report(Finding(code="MB301", message=message, path=path))
        return usage

    def _words(self) -> list[str]:
        """Return what any reference to a candidate must hold: parts of the configured names, without those that hold another."""
        globs = (*self.options.folders, *self.options.files, *self.options.compiled, *self.options.programs)
        words = {max(re.findall(r"[A-Za-z0-9]+", glob) or [glob], key=len).lower() for glob in globs}
        words -= {"py"}
        return sorted(word for word in words if not any(other != word and other in word for other in words))

    def _untested_binaries(
        self, bundle: Bundle, modules: ImportPaths, candidates: Mapping[str, Candidate], kept: Mapping[str, str], context: Context
    ) -> dict[str, str]:
        """A compiled module is taken for a test's only if a test that goes names it."""
        compiled = [path for path, candidate in candidates.items() if candidate.compiled and path not in kept]
        tops = {modules.top_level(path) for path in compiled}
        tests = [bundle[path] for path in sorted(candidates) if path not in kept and bundle[path].kind is Kind.PYTHON]
        tests = [file for file in tests if modules.top_level(file.path) in tops]
        facts = context.examine(f"names:{self.options.compiled}", tests, partial(examine_identifiers, globs=self.options.compiled))
        named = {name for names in facts.values() for name in names}
        return {path: "called like a test, but no test imports it" for path in compiled if basename(module_of(path) or "") not in named}


def _untouchable(path: str, context: Context) -> str | None:
    """Return why a file stays, whoever uses it: an image's own application is run by scripts and commands that nobody reads here."""
    if not context.selects(path):
        return "left alone by `include` and `exclude`"
    if context.artifact == "image" and not _PACKAGES.search(path):
        return "in an image only installed packages lose their tests: what runs the rest, and what that opens, is not all in sight"
    return None


def _examine_tests(file: File) -> Json:
    return defines_tests(file.read())


def _licences(candidates: Mapping[str, Candidate], kept: Mapping[str, str]) -> dict[str, str]:
    """A licence goes with what it covers: it stays where anything in its folder stays."""
    return {path: "licence of files that stay" for path in candidates if is_licence(path) and any(_beside(path, kept))}


def _beside(path: str, kept: Mapping[str, str]) -> Iterator[str]:
    folder = dirname(installed(path)) + "/"
    return (other for other in kept if installed(other).startswith(folder))


def _reason(path: str, candidate: Candidate) -> str:
    if candidate.compiled:
        return f"{candidate.what}: tests alone import it"
    if is_licence(path):
        return f"{candidate.what}: licence of files of which none stays"
    return f"{candidate.what}; nothing that stays imports or opens it"
