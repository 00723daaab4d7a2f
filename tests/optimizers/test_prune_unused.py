from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pytest

from hatch_mlbundle import application
from hatch_mlbundle.config import read_config
from hatch_mlbundle.errors import ProfileError
from hatch_mlbundle.job import Job, prepare
from hatch_mlbundle.model import Bundle, Rewrite
from hatch_mlbundle.optimizers.prune_unused import PruneUnused, PruneUnusedOptions
from hatch_mlbundle.plugins import load_registry
from hatch_mlbundle.profile import FILE_NAME, Profile
from tests.builders import PlainContext, Plan, file_of, plan_of
from tests.bundles.wheelsmith import build_wheel
from tests.fakes import FakeContext
from tests.fakes import bundle_of as bundle_on_disk
from tests.optimizers.test_exclude_modules import frozen, names

APP = {"pyz/app.py": "import pkg.used", "pyz/pkg/__init__.py": "", "pyz/pkg/used.py": "", "pkg/data.txt": "used"}


def made(folder: Path, bundle: Iterable[str], used: Iterable[str], **options: object) -> PruneUnused:
    """Return the optimizer with a profile that lists these files of the bundle as used, and all others as not."""
    profile = Profile(used=frozenset(used), unused=frozenset(bundle) - frozenset(used))
    profile.save(folder / FILE_NAME)
    optimizer = PruneUnused(PruneUnusedOptions(**options))  # type: ignore[arg-type]
    optimizer.inputs(folder)
    return optimizer


def paths_of(files: Iterable[str]) -> list[str]:
    return list(frozen(dict.fromkeys(files, "")))


def plan(
    folder: Path, more: Mapping[str, str | bytes], used: Iterable[str] = (), context: PlainContext | None = None, **options: object
) -> Plan:
    """Plan for an application with more files, of which runs used those in `used`."""
    bundle = frozen({**APP, **more})
    return plan_of(made(folder, bundle, paths_of([*APP, *used]), **options), bundle, context)


def test_what_no_run_used_goes_and_says_so(tmp_path: Path) -> None:
    result = plan(tmp_path, {"pyz/pkg/lazy.py": "", "pkg/lazy.bin": "data", "other/tool": "x"})
    assert names(result.dropped) == ["pyz/pkg/lazy.pyc", "other/tool", "pkg/lazy.bin"]
    assert set(result.dropped.values()) == {"no traced run used it"}
    assert (result.kept, result.findings) == ({}, [])


ASKED = {"pyz/pkg/found.py": "import pkg.deep", "pkg/found.py": "import pkg.deep", "pkg/alone.py": "x = 1"}


def asking(folder: Path, **options: object) -> Plan:
    """Plan for an application that a run asked for `ASKED`, whether it is there."""
    bundle = frozen({**APP, **ASKED, "pyz/pkg/deep.py": ""})
    optimizer = made(folder, bundle, paths_of(APP), **options)
    asked = frozenset(paths_of(ASKED))
    Profile(used=frozenset(paths_of(APP)), asked=asked, unused=frozenset(bundle) - asked - set(paths_of(APP))).save(folder / FILE_NAME)
    optimizer.inputs(folder)
    return plan_of(optimizer, bundle)


def test_what_was_only_asked_for_stays_and_nothing_for_its_sake(tmp_path: Path) -> None:
    assert names(asking(tmp_path).dropped) == ["pyz/pkg/deep.pyc"]


def test_a_source_that_was_only_asked_for_becomes_empty_where_its_module_is_in_the_executable(tmp_path: Path) -> None:
    result = asking(tmp_path)
    assert [change.path for change in result.changes if isinstance(change, Rewrite)] == ["_internal/pkg/found.py"]
    for options in ({"empty_sources": False}, {"keep": ("pkg.found",)}):
        assert not any(isinstance(change, Rewrite) for change in asking(tmp_path, **options).changes)


def test_an_empty_file_takes_the_place_of_a_source(tmp_path: Path) -> None:
    (tmp_path / "found.py").write_text("x = 1\n")
    context = FakeContext(tmp_path)
    task = context.task(bundle_on_disk(tmp_path)["found.py"], tmp_path / "companions")
    optimizer = PruneUnused(PruneUnusedOptions())
    optimizer.rewrite(task, context)
    optimizer.check(task, context)
    assert task.target.read_bytes() == b""


def test_what_is_in_no_inventory_stays_and_is_told_once(tmp_path: Path) -> None:
    bundle = frozen({**APP, "pyz/pkg/lazy.py": ""})
    optimizer = made(tmp_path, bundle, paths_of(APP))
    newer = bundle.replacing(frozen({"pkg/new.txt": "new", "pkg/newer.txt": "new"}).values())
    result = plan_of(optimizer, newer)
    assert names(result.dropped) == ["pyz/pkg/lazy.pyc"]
    (finding,) = result.findings
    assert finding.line() == "MB611 2 files (first: _internal/pkg/new.txt) are not in the profile: trace again; until then they stay"


def test_what_was_used_and_is_gone_is_told_once(tmp_path: Path) -> None:
    bundle = frozen({**APP, "pyz/pkg/lazy.py": ""})
    optimizer = made(tmp_path, bundle, paths_of(APP))
    result = plan_of(optimizer, bundle.without(["_internal/pkg/data.txt"]))
    assert names(result.dropped) == ["pyz/pkg/lazy.pyc"]
    (finding,) = result.findings
    assert finding.line().startswith("MB612 1 file (_internal/pkg/data.txt) is used by traced runs but not there: ")


def test_with_the_profile_of_another_application_nothing_goes(tmp_path: Path) -> None:
    other = frozen({"pyz/main.py": "", "pyz/lib/a.py": "", "pyz/lib/b.py": "", **dict(list(APP.items())[:1])})
    result = plan_of(made(tmp_path, other, other), frozen(APP))
    assert (result.dropped, [finding.code for finding in result.findings]) == ({}, ["MB613"])
    assert "trace this one" in result.findings[0].message


@pytest.mark.parametrize("keep", ["pkg.lazy", "pkg", "lazy.pyc", "/_internal/app.pyz/pkg/lazy.pyc"])
def test_keep_takes_modules_and_globs(keep: str, tmp_path: Path) -> None:
    result = plan(tmp_path, {"pyz/pkg/lazy.py": ""}, keep=(keep,))
    assert not result.dropped
    assert result.kept == {"_internal/app.pyz/pkg/lazy.pyc": "the configuration keeps it"}


def test_keep_that_names_nothing_is_told(tmp_path: Path) -> None:
    result = plan(tmp_path, {"pyz/pkg/lazy.py": ""}, keep=("pkg.lasy",))
    assert [finding.line() for finding in result.findings] == [
        "MB614 'pkg.lasy' in `keep` is neither a file of the bundle nor a module; correct it, or take it out"
    ]


def test_what_exclude_matches_stays_with_what_it_imports(tmp_path: Path) -> None:
    alone = PlainContext(left_alone=frozenset({"_internal/app.pyz/pkg/lazy.pyc"}))
    result = plan(tmp_path, {"pyz/pkg/lazy.py": "import pkg.deep", "pyz/pkg/deep.py": ""}, context=alone)
    assert result.kept == {"_internal/app.pyz/pkg/deep.pyc": "pkg.lazy imports it"}


def test_what_a_used_module_cannot_be_imported_without_stays(tmp_path: Path) -> None:
    text = """
import sys
if sys.platform == "win32":
    from . import windows
try:
    import pkg.optional
except ImportError:
    pass
def later():
    import pkg.lazy
"""
    more = {f"pyz/pkg/{name}.py": "" for name in ("windows", "optional", "lazy")}
    result = plan(tmp_path, {**more, "pyz/pkg/used.py": text})
    assert names(result.dropped) == ["pyz/pkg/lazy.pyc", "pyz/pkg/optional.pyc"]
    assert result.kept == {"_internal/app.pyz/pkg/windows.pyc": "pkg.used imports it"}


def test_the_packages_of_what_stays_stay(tmp_path: Path) -> None:
    result = plan(tmp_path, {"pyz/far/__init__.py": "import far.dep", "pyz/far/dep.py": "", "pyz/far/deep.py": ""}, keep=("far.deep",))
    assert result.kept["_internal/app.pyz/far/__init__.pyc"] == "package of far.deep, which stays"
    assert result.kept["_internal/app.pyz/far/dep.pyc"] == "far imports it"


def test_the_standard_library_stays_unless_it_is_to_be_pruned(tmp_path: Path) -> None:
    more = {"pyz/sqlite3/__init__.py": "", "pyz/traceback.py": "import textwrap", "pyz/textwrap.py": "", "pyz/difflib.py": ""}
    kept = plan(tmp_path, more)
    assert len(kept.kept) == 4
    assert kept.kept["_internal/app.pyz/difflib.pyc"] == "standard library, which what handles an error may need"
    pruned = plan(tmp_path, more, standard_library="prune")
    assert names(pruned.dropped) == ["pyz/difflib.pyc", "pyz/sqlite3/__init__.pyc"]


def test_rules_keep_files_with_their_reason(tmp_path: Path) -> None:
    result = plan(tmp_path, {"certifi/cacert.pem": "-----", "pkg-1.dist-info/METADATA": "Name: pkg", "pkg-1.dist-info/RECORD": "x"})
    assert names(result.dropped) == ["pkg-1.dist-info/RECORD"]
    assert result.kept["_internal/certifi/cacert.pem"] == "certificates: needed once a connection is made"


def test_translations_stay_where_one_was_used(tmp_path: Path) -> None:
    more = {f"{package}/locale/{language}.json": "{}" for package in ("pkg", "far") for language in ("de", "fr")}
    result = plan(tmp_path, more, ["pkg/locale/de.json"])
    assert names(result.kept) == ["pkg/locale/fr.json"]
    assert names(result.dropped) == ["far/locale/de.json", "far/locale/fr.json"]


PLUGINS = """\
[console_scripts]
tool = tools.program:main
[pkg.formats]
csv = tools.csv:Reader [extra]
[nobody.asks]
x = tools.unasked
"""


def test_plug_ins_stay_where_code_that_was_used_mentions_their_group(tmp_path: Path) -> None:
    more = {
        "tools-1.dist-info/entry_points.txt": PLUGINS,
        "pyz/tools/__init__.py": "",
        **{f"pyz/tools/{name}.py": "" for name in ("program", "unasked", "helper", "apart")},
        "pyz/tools/csv.py": "def f():\n    import tools.helper",
        "pyz/pkg/used.py": "GROUP = 'pkg.formats'",
    }
    result = plan(tmp_path, more)
    assert names(result.dropped) == ["pyz/tools/apart.pyc", "pyz/tools/program.pyc", "pyz/tools/unasked.pyc"]
    reason = "entry point of 'pkg.formats', a group that _internal/app.pyz/pkg/used.pyc mentions"
    assert result.kept["_internal/app.pyz/tools/csv.pyc"] == reason
    assert result.kept["_internal/app.pyz/tools/helper.pyc"] == "tools.csv imports it"


def test_the_modules_of_an_executable_that_never_ran_stay(tmp_path: Path) -> None:
    other = {path.replace("app.pyz", "other.pyz"): data for path, data in frozen({"pyz/one.py": "", "pyz/two.py": ""}).items()}
    bundle = frozen({**APP, "pyz/pkg/lazy.py": ""}).replacing(file_of(path, file.read()) for path, file in other.items())
    result = plan_of(made(tmp_path, bundle, paths_of(APP)), bundle)
    assert names(result.dropped) == ["pyz/pkg/lazy.pyc"]
    assert [(finding.code, finding.path) for finding in result.findings] == [("MB615", "_internal/other.pyz")]


def test_a_kept_module_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    bundle = frozen(APP).replacing([file_of("_internal/app.pyz/broken.pyc", b"no code")])
    result = plan_of(made(tmp_path, bundle, paths_of(APP), keep=("broken",)), bundle)
    assert [(finding.code, finding.path) for finding in result.findings] == [("MB616", "_internal/app.pyz/broken.pyc")]


def compiled(path: Path, *arguments: str, source: str = "int one(void) { return 1; }") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["gcc", "-shared", "-fPIC", "-x", "c", "-", "-x", "none", "-o", path, *arguments], input=source.encode(), check=True)


def test_linked_libraries_and_links_stay_together(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    libs = root / "pkg.libs"
    compiled(libs / "libbase.so.1", "-Wl,-soname,libbase.so.1")
    compiled(libs / "libalone.so")
    compiled(root / "pkg/_ext.so", str(libs / "libbase.so.1"), source="int one(void); int two(void) { return one(); }")
    (root / "libbase.so.1").symlink_to("pkg.libs/libbase.so.1")
    (root / "libalone.so").symlink_to("pkg.libs/libalone.so")
    (root / "pkg/__init__.py").write_text("")
    bundle = bundle_on_disk(root)
    optimizer = made(tmp_path, bundle, ["pkg/__init__.py", "pkg/_ext.so"])
    context = FakeContext(root)
    changes = {change.path: (type(change).__name__, change.reason) for change in optimizer.plan(bundle, context)}
    assert changes == {
        "libalone.so": ("Drop", "no traced run used it"),
        "libbase.so.1": ("Keep", "leads to what stays"),
        "pkg.libs/libalone.so": ("Drop", "no traced run used it"),
        "pkg.libs/libbase.so.1": ("Keep", "pkg/_ext.so is linked with it"),
    }


def test_a_link_that_stays_keeps_what_it_leads_to(tmp_path: Path) -> None:
    bundle = Bundle([*frozen(APP).values(), file_of("_internal/data/v1.txt", b"1"), file_of("_internal/data/now", b"", link="v1.txt")])
    result = plan_of(made(tmp_path, bundle, [*paths_of(APP), "_internal/data/now"]), bundle)
    assert result.kept == {"_internal/data/v1.txt": "the link _internal/data/now leads to it"}


def test_libraries_of_windows_and_macos_stay(tmp_path: Path) -> None:
    pe = b"MZ" + bytes(58) + b"\x40\0\0\0PE\0\0" + bytes(300)
    bundle = frozen(APP).replacing([file_of("_internal/helper.dll", pe)])
    result = plan_of(made(tmp_path, bundle, paths_of(APP)), bundle)
    assert list(result.kept) == ["_internal/helper.dll"]


def test_several_profiles_are_united(tmp_path: Path) -> None:
    bundle = frozen({**APP, "pkg/one.txt": "1", "pkg/two.txt": "2", "pkg/three.txt": "3"})
    for name in ("one", "two"):
        used = frozenset([*paths_of(APP), f"_internal/pkg/{name}.txt"])
        Profile(used=used, unused=frozenset(bundle) - used).save(tmp_path / f"{name}.json")
    optimizer = PruneUnused(PruneUnusedOptions(profile=("one.json", "two.json")))
    assert sorted(optimizer.inputs(tmp_path)) == ["one.json", "two.json"]
    assert list(plan_of(optimizer, bundle).dropped) == ["_internal/pkg/three.txt"]


def job_for(project: Path, **options: object) -> Job:
    registry = load_registry()
    table = {"optimizers": ["prune_unused"], "prune_unused": options}
    return prepare(read_config(table, registry.option_types()), registry, project=project)


@pytest.mark.parametrize(("text", "told"), [(None, "there is no such profile"), ("{", "is no JSON"), ("{}", "is no profile")])
def test_a_profile_that_cannot_be_read_is_told_before_any_work(text: str | None, told: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(ProfileError, match=told) as caught:
        job_for(tmp_path)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_a_list_of_no_profiles_is_told_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="`profile` names no file"):
        job_for(tmp_path, profile=[])


def wheel_with(folder: Path, files: Sequence[str]) -> Path:
    return build_wheel(folder, {name: f"# {name}\n".encode() for name in files})


def test_a_wheel_loses_what_an_environment_did_not_use_and_the_profile_decides(tmp_path: Path) -> None:
    files = ["pkg/__init__.py", "pkg/used.py", "pkg/lazy.py", "pkg/data.txt"]
    (tmp_path / "one").mkdir()
    wheel = wheel_with(tmp_path / "one", files)
    other = frozenset({"pip/__init__.py", "pkg-1.dist-info/INSTALLER"})
    for used, left in ((files[:2], files[:2]), (files[:3], files[:3])):
        Profile(used=frozenset(used), unused=(frozenset(files) - frozenset(used)) | other).save(tmp_path / FILE_NAME)
        output = tmp_path / "out" / wheel.name
        output.parent.mkdir(exist_ok=True)
        for _ in range(2):  # made, and taken from the cache
            manifest = application.optimize(job_for(tmp_path), wheel, output).manifest
            assert sorted(row.path for row in manifest.files if row.after and row.path.startswith("pkg/")) == sorted(left)
        assert not manifest.findings
    assert json.loads((tmp_path / FILE_NAME).read_text())["format"] == "mlbundle-profile"
