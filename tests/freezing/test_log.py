from __future__ import annotations

from pathlib import Path

import pytest

from hatch_mlbundle.freezing.log import error_number, failure, findings, missing_modules, stage

PROJECT = Path("/home/me/project")
FRAMES = """\
Traceback (most recent call last):
  File "<frozen runpy>", line 198, in _run_module_as_main
  File "/venv/lib/python3.11/site-packages/PyInstaller/__main__.py", line 215, in run
    run_build(pyi_config, spec_file, **vars(args))
"""


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("273 INFO: Analyzing modules for base_library.zip ...", "the standard library"),
        ("4415 INFO: Analyzing /home/me/project/app.py", "imports of app.py"),
        ("4415 INFO: Analyzing hidden import 'torch.x'", "imports of torch.x"),
        ("873 INFO: Processing standard module hook 'hook-heapq.py' from '/venv/PyInstaller/hooks'", "hook for heapq"),
        ("873 INFO: Processing pre-safe-import-module hook 'hook-six.moves.py' from '/venv/x'", "hook for six.moves"),
        ("4495 INFO: Looking for dynamic libraries", "libraries"),
        ("4845 INFO: Building PYZ (ZlibArchive) /tmp/work/PYZ-00.pyz", "packing modules"),
        ("5005 INFO: Building EXE from EXE-00.toc", "making the executable"),
        ("5014 INFO: Building COLLECT COLLECT-00.toc", "collecting files"),
        ("5014 INFO: Build complete! The results are available in: /tmp/dist", None),
        ("Analyzing what the spec prints", None),
        ("", None),
    ],
)
def test_stage(line: str, told: str | None) -> None:
    assert stage(line) == told


FAILURES = {
    "syntax of the spec": (
        FRAMES + "  File \"bad.spec\", line 1\n    a = Analysis(['app.py']\n                ^\nSyntaxError: '(' was never closed\n",
        "SyntaxError: '(' was never closed (bad.spec, line 1)",
    ),
    "exception in the spec": (
        FRAMES
        + "  File \"/home/me/project/app.spec\", line 3, in <module>\n    import nixda\nModuleNotFoundError: No module named 'nixda'\n",
        "ModuleNotFoundError: No module named 'nixda' (app.spec, line 3)",
    ),
    "exception below the spec": (
        FRAMES
        + '  File "/home/me/project/app.spec", line 7, in <module>\n    Analysis()\n'
        + '  File "/home/me/project/.venv/lib/site-packages/PyInstaller/x.py", line 9, in f\n    g()\nValueError: first line\n  second\n\n',
        "ValueError: first line (app.spec, line 7)",
    ),
    "the last of a chain": (
        FRAMES + "KeyError: 1\n\nDuring handling of the above exception, another exception occurred:\n\n" + FRAMES + "a.b.HookError: no\n",
        "a.b.HookError: no",
    ),
    "script not found": ("59 INFO: x\nERROR: script '/home/me/project/no.py' not found\n", "script '/home/me/project/no.py' not found"),
    "wrong argument": ("usage: makespec.py [-h]\nmakespec.py: error: unrecognized arguments: --foo\n", "unrecognized arguments: --foo"),
    "syntax of a script": (
        'Syntax error in /home/me/project/app.py\n  File "/home/me/project/app.py", line 1\n     def f(:\n SyntaxError: invalid syntax\n\n',
        "SyntaxError: invalid syntax (app.py, line 1)",
    ),
    "nothing said": ("", "no message"),
    "only a log": ("5 INFO: working\n", "working"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failure(name: str) -> None:
    text, told = FAILURES[name]
    assert failure(text.splitlines(), PROJECT) == told


def test_a_refusal_of_the_file_system_is_known_by_its_number() -> None:
    refused = FRAMES + "OSError: [Errno 28] No space left on device: '/a' -> '/b'\n\n"
    assert error_number(refused.splitlines()) == 28
    assert error_number((FRAMES + "HookError: because of [Errno 28]\n").splitlines()) is None
    assert error_number([]) is None


def test_libraries_and_hidden_imports_that_are_not_there() -> None:
    lines = [
        "9 WARNING: Library not found: could not resolve 'libb.so.1', dependency of '/x/one.so'.",
        "9 WARNING: Library not found: could not resolve 'libb.so.1', dependency of '/x/two.so'.",
        "9 WARNING: Library not found: could not resolve 'liba.so', dependency of '/x/one.so'.",
        "9 WARNING: Library libamdhip64.so required via ctypes not found",
        "9 ERROR: Hidden import 'mine' not found",
        '9 WARNING: Hidden import "scipy.special._cdflib" not found!',
    ]
    assert [(each.code, each.message) for each in findings(lines, ["mine", "other"])] == [
        ("MB502", "liba.so is not on this machine, and one.so needs it"),
        ("MB502", "libb.so.1 is not on this machine, and one.so and 1 more needs it"),
        ("MB503", "hidden-imports names mine, and there is no such module"),
    ]


def test_modules_that_the_application_imports_unguarded_and_that_are_not_there() -> None:
    warnings = "\n".join(
        [
            "This file lists modules PyInstaller was not able to find.",
            "missing module named winreg - imported by app.cli (top-level)",
            "missing module named guarded - imported by app.cli (optional)",
            "missing module named inside - imported by app.cli (delayed), app.x (conditional, optional)",
            "missing module named foreign - imported by torch.x (top-level), app.cli (delayed)",
            "missing module named 'absent.sub' - imported by torch.x (delayed), /home/me/app.py (top-level)",
            "missing module named absent - imported by app.cli (top-level)",
            "missing module named json.attribute - imported by app.cli (top-level)",
            "excluded module named excluded - imported by app.cli (top-level)",
        ]
    )
    found = list(missing_modules(warnings, lambda importer: importer.startswith(("app", "/home/me"))))
    assert [(each.code, each.message) for each in found] == [
        ("MB501", "app.py imports absent, which is not in the build environment: it will fail when it runs")
    ]
