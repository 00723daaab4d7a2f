from __future__ import annotations

from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks" / "gpu_check"


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the scripts of benchmarks/gpu_check import each other as they do when they are run."""
    monkeypatch.syspath_prepend(FOLDER)


def script(folder: Path, *rows: str) -> Path:
    lines = "\n".join(f"print({row!r})" for row in rows)
    (folder / "script.py").write_text(lines)
    return folder / "script.py"


def rows(**results: str) -> list[str]:
    return [f'{{"name": "{name}", {result}}}' for name, result in results.items()]


def digests(count: int) -> dict[str, str]:
    return {f"operation {number}": f'"digest": "{number}"' for number in range(count)}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({}, "ok  it: 20 of 20 the same, to the bit"),
        ({"operation 3": '"digest": "other"'}, "FAILED  it: 19 of 20 the same"),
        ({"operation 3": '"error": "no kernel image"'}, "FAILED  it: 19 of 20 the same"),
        ({"strays": '"paths": ["/usr/lib/libcublas.so"]'}, "FAILED  it: it used /usr/lib/libcublas.so"),
    ],
    ids=["the same", "another result", "an error", "a library from elsewhere"],
)
def test_what_a_pruned_library_does_otherwise_is_told(
    changed: dict[str, str], says: str, tmp_path: Path, modules: None, capsys: pytest.CaptureFixture[str]
) -> None:
    from comparing import outcome_of, same

    before = outcome_of(script(tmp_path, *rows(**digests(20))))
    after = outcome_of(script(tmp_path, *rows(**{**digests(20), **changed})))
    assert same("it", before, before, after) == says.startswith("ok")
    assert capsys.readouterr().out.startswith(says)


def test_what_is_never_twice_the_same_does_not_count(tmp_path: Path, modules: None, capsys: pytest.CaptureFixture[str]) -> None:
    from comparing import outcome_of, same

    runs = [outcome_of(script(tmp_path, *rows(**digests(20), drawn=f'"digest": "{number}"'))) for number in range(3)]
    assert same("it", *runs)
    assert "20 of 21 the same, to the bit; 1 are never twice the same" in capsys.readouterr().out


def test_nothing_is_shown_where_everything_fails(tmp_path: Path, modules: None, capsys: pytest.CaptureFixture[str]) -> None:
    from comparing import outcome_of, same

    failing = outcome_of(script(tmp_path, *rows(one='"error": "out of memory"', two='"error": "out of memory"')))
    assert not same("it", failing, failing, failing)
    assert not same("it", outcome_of(script(tmp_path)), None, outcome_of(script(tmp_path)))
    assert capsys.readouterr().out.count("FAILED") == 2


@pytest.mark.parametrize(
    ("results", "fits"),
    [
        ({"a": '"error": "no kernel image is available for execution on the device"', "b": '"error": "invalid device function"'}, True),
        ({"a": '"error": "no kernel image is available for execution on the device"', "b": '"digest": "1"'}, False),
        ({"a": '"error": "unspecified launch failure"'}, False),
        ({}, False),
    ],
)
def test_a_library_for_another_gpu_has_to_end_in_cudas_own_error(
    results: dict[str, str], fits: bool, tmp_path: Path, modules: None
) -> None:
    from comparing import outcome_of, refused

    assert refused("it", outcome_of(script(tmp_path, *rows(**results)))) == fits


def test_where_there_is_no_gpu_it_says_why(modules: None) -> None:
    from driver import find_gpu

    if Path("/dev/nvidiactl").exists():
        pytest.skip("there is a GPU")
    assert "there is no NVIDIA driver" in str(find_gpu())


def test_a_crash_is_told(tmp_path: Path, modules: None) -> None:
    from comparing import outcome_of

    place = tmp_path / "crash.py"
    place.write_text("import os, sys; print('out of luck', file=sys.stderr); sys.stderr.flush(); os.abort()")
    assert outcome_of(place).ending == "ended with -6: out of luck"
