"""Runs of the kit go through the real pipeline: artifacts refuse, options are read, results come from the cache."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from hatch_mlbundle.api import Bundle, Change, Context, Drop
from hatch_mlbundle.errors import ConfigurationError
from hatch_mlbundle.manifest import Manifest
from hatch_mlbundle.optimizers.deduplicate import Deduplicate
from hatch_mlbundle.optimizers.python_sources import PythonSources
from hatch_mlbundle.optimizers.strip import Strip
from hatch_mlbundle.testing import assert_laws, folder_from, optimize, run, wheel_from
from tests.elfsmith import compile_elf, need
from tests.testing.misbehaving import Clumsy, Trim, Trusting


class Eager(Trim):
    """Drops all that it can."""

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        return [Drop(path=path, reason="nobody needs it") for path in bundle if path.endswith(("METADATA", "y.bin"))]


FILES = {"pkg/a.txt": "a     \nb", "pkg/b.txt": "b", "pkg/c.bin": b"\0  "}


def test_what_it_shows() -> None:
    done = run(Trim, FILES)
    assert done.changed == {"pkg/a.txt": "white space at the ends of lines means nothing here"}
    assert done.kept == {"pkg/b.txt": "not smaller when rewritten"}
    assert done.files == {"pkg/a.txt": b"a\nb", "pkg/b.txt": b"b", "pkg/c.bin": b"\0  "}
    assert (done.saved, done.codes, len(done.plan)) == (5, [], 2)
    assert done.before["pkg/a.txt"].size == 8


def test_options_are_read_as_in_toml() -> None:
    assert run(Trim, FILES, {"suffix": ".bin"}).files["pkg/c.bin"] == b"\0"
    with pytest.raises(ConfigurationError) as caught:
        run(Trim, FILES, {"sufix": ".bin", "include": "x"})
    assert caught.value.faults == (
        "tool.mlbundle.trim.sufix: unknown key; did you mean 'suffix'?",
        "tool.mlbundle.trim.include: must be a list, not 'x'",
    )
    with pytest.raises(ValueError, match="Trim does not run: its options say enabled = false"):
        run(Trim, FILES, {"enabled": False})


def test_an_artifact_that_it_is_not_for() -> None:
    with pytest.raises(ValueError, match="PythonSources does not run: it is for frozen, and this is a wheel"):
        run(PythonSources, FILES, artifact="wheel")


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_wheel_refuses_what_wheels_refuse(on_disk: bool, tmp_path: Path) -> None:
    info = "example-1.0.dist-info"
    files = {
        "pkg/a/x.bin": bytes(9000),
        "pkg/b/y.bin": bytes(9000),
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: example\nVersion: 1.0\n",
    }
    assert run(Deduplicate, files).changed == {"pkg/b/y.bin": "the same bytes as pkg/a/x.bin"}
    given = wheel_from(tmp_path, files) if on_disk else files
    done = run(Eager, given, artifact="wheel")
    assert list(done.changed) == ["pkg/b/y.bin"]
    assert done.codes == ["MB104"]
    assert done.findings[0].message.endswith("drop was refused: installers need the file as it is")


def test_companions(tmp_path: Path) -> None:
    need("gcc")
    library = compile_elf(tmp_path / "libx.so", "-g", "-Wl,--build-id").read_bytes()
    (companion,) = run(Strip, {"pkg/libx.so": library}, {"debug-files": True}).companions.items()
    assert companion[0].startswith(".build-id/")
    assert companion[1].startswith(b"\x7fELF")


def test_nothing_on_disk_changes(tmp_path: Path) -> None:
    wheel = wheel_from(tmp_path / "dist", FILES)
    folder = folder_from(tmp_path / "folder", FILES)
    before = wheel.read_bytes()
    assert run(Trim, wheel).files["pkg/a.txt"] == run(Trim, folder).files["pkg/a.txt"] == b"a\nb"
    assert "example-1.0.dist-info/RECORD" in run(Trim, wheel).after
    assert wheel.read_bytes() == before
    assert (folder / "pkg" / "a.txt").read_text() == FILES["pkg/a.txt"]


def test_artifacts_on_disk_are_made_small(tmp_path: Path) -> None:
    wheel = wheel_from(tmp_path / "dist", FILES)
    manifest = optimize(Trim, wheel, cache=tmp_path / "cache")
    assert (manifest.artifact.before.installed or 0) - (manifest.artifact.after.installed or 0) > 0
    assert Manifest.load(wheel.with_name(f"{wheel.name}.mlbundle.json")) == manifest
    assert run(Trim, wheel).changed == {}
    folder = folder_from(tmp_path / "folder", FILES)
    optimize(Trim, folder)
    assert (folder / "pkg" / "a.txt").read_text() == "a\nb"


def test_laws_are_tried_on_artifacts_on_disk(tmp_path: Path) -> None:
    without = dict.fromkeys(["safe", "deterministic", "parallel", "cacheable"], "tried elsewhere")
    assert_laws(Trim, wheel_from(tmp_path, FILES), without=without)
    assert_laws(Trim, folder_from(tmp_path / "folder", FILES), without=without)


def test_results_come_from_the_cache(tmp_path: Path) -> None:
    first = run(Trim, FILES, cache=tmp_path)
    kept = sorted(tmp_path.rglob("entry.json"))
    assert kept
    assert run(Trim, FILES, cache=tmp_path).files == first.files
    assert sorted(tmp_path.rglob("entry.json")) == kept


def test_misdeeds_are_seen() -> None:
    done = run(Trusting, {"pkg/a.txt": ""})
    (misdeed,) = done.misdeeds
    assert str(misdeed).startswith("rewrite() of pkg/a.txt raised IndexError: list index out of range (misbehaving.py, line")
    assert done.codes == ["MB102"]
    assert [each.what for each in run(Clumsy, {"pkg/a.txt": "a  "}).misdeeds][-1] == "wrote to the file that it was to read"
