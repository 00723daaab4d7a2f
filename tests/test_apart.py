"""Copies for steps of other distributions: whole or not at all, and what is written over them is found out."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hatch_mlbundle.apart import Apart
from hatch_mlbundle.bundles.pyz import stored_code
from hatch_mlbundle.drafts import Work, draft_of, sealed_from
from hatch_mlbundle.errors import ClaimError, SpoiltError
from hatch_mlbundle.model import Bundle, Convert
from hatch_mlbundle.testing import bundle_from

SHORT = """
import resource, signal, sys
from pathlib import Path
from hatch_mlbundle.apart import copy
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_250_000, 1_250_000))
try:
    copy(Path(sys.argv[1]), Path(sys.argv[2]))
except OSError as error:
    print(error.strerror)
"""


def apart(folder: Path, bundle: Bundle) -> Apart:
    made = Apart(folder)
    made.bundle = bundle
    return made


def test_a_file_system_that_takes_half_of_a_copy(tmp_path: Path) -> None:
    elsewhere = Path("/dev/shm")  # of another file system, so that the bytes go through this process
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs another file system")
    source = elsewhere / f"mlbundle-{tmp_path.name}"
    try:
        source.write_bytes(bytes(1_500_000))
        told = subprocess.run(
            [sys.executable, "-c", SHORT, str(source), str(tmp_path / "copy")], capture_output=True, text=True, check=True
        )
    finally:
        source.unlink()
    assert told.stdout == "File too large\n"


def test_what_is_written_at_once_is_found_out(tmp_path: Path) -> None:
    bundle = bundle_from({f"{number}.txt": "one" for number in range(50)})
    workspace = apart(tmp_path, bundle)
    for path, file in bundle.items():
        workspace.local(file).write_text("two")
        with pytest.raises(SpoiltError, match=f"changed {path}, which it was given to read"):
            workspace.check((path,))


def test_files_of_the_bundle_alone(tmp_path: Path) -> None:
    workspace = apart(tmp_path, bundle_from({"a": "a"}))
    (strange,) = bundle_from({"b": "b"}).values()
    with pytest.raises(ClaimError, match="asks for b, which is no file of the bundle"):
        workspace.local(strange)


def test_a_module_of_an_executable_counts_what_it_takes_there(tmp_path: Path) -> None:
    before, after = bytes(5000), bytes(4000)
    (file,) = bundle_from({"app.pyz/mod.pyc": before}).values()
    file = replace(file, size=len(stored_code(before)))
    assert file.size < len(after)
    change = Convert(path=file.path, reason="shorter", sources=(file.path,), outputs=(file.path,))
    work = Work(change=change, sources=(file,))
    workspace = apart(tmp_path, Bundle([file]))
    draft = draft_of(work, workspace)
    place = draft.place / file.path
    place.parent.mkdir()
    place.write_bytes(after)
    assert sealed_from(draft, work, workspace.new_folder()).outputs[file.path].read_bytes() == after
