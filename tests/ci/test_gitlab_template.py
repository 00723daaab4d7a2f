"""The GitLab template: its script runs as a job does, against a forge on this machine."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml
from checkouts import build, checkout
from commands import run_here
from forge import Forge, serving

from hatch_mlbundle.reports.markdown_parts import marker

TEMPLATE = Path(__file__).parents[2] / "ci" / "gitlab" / "mlbundle.yml"
JOB = yaml.safe_load(TEMPLATE.read_text(encoding="utf-8"))[".mlbundle-size"]
SCRIPT = "\n".join(JOB["script"])
WITHOUT_INSTALLING = "\n".join([line for line in JOB["script"] if "-I" not in line]).replace("bin/python", f"'{sys.executable}'")
"""The script with the Python that runs the tests: installing takes its time, and has a test of its own."""
DOWNLOAD = "/api/v4/projects/42/jobs/artifacts/main/download?job=size"


@pytest.fixture
def forge() -> Iterator[Forge]:
    with serving() as running:
        yield running


@dataclass
class Job:
    """A job of a pipeline for merge request 7 into main, with the project in a folder."""

    project: Path
    forge: Forge
    log: str = ""

    def run(self, *, script: str = "", **variables: str) -> int:
        """Run the job's command as its script does, or a whole script in bash; return the exit code."""
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ},
            **{name: value for name, value in JOB["variables"].items() if value is not None},
            "MLBUNDLE_ARTIFACT": "dist/app",
            "CI_PROJECT_DIR": str(self.project),
            "CI_PROJECT_ID": "42",
            "CI_API_V4_URL": f"{self.forge.url}/api/v4",
            "CI_JOB_NAME": "size",
            "CI_JOB_TOKEN": "j0b",
            "CI_DEFAULT_BRANCH": "main",
            "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
            "CI_MERGE_REQUEST_PROJECT_ID": "42",
            "CI_MERGE_REQUEST_IID": "7",
            **variables,
        }
        if not script:
            code, self.log = run_here("gitlab", self.project.parent, environment)
            return code
        command = ["bash", "-eo", "pipefail", "-c", script]
        done = subprocess.run(command, cwd=self.project, env=environment, capture_output=True, text=True, timeout=300, check=False)
        self.log = done.stdout + done.stderr
        return done.returncode

    def told(self) -> str:
        return (self.project / ".mlbundle" / "summary.md").read_text(encoding="utf-8")

    def keep(self) -> None:
        """Let the forge have this job's artifacts as those of main, and begin a new pipeline."""
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w") as archive:
            for path in sorted((self.project / ".mlbundle").rglob("*")):
                archive.write(path, path.relative_to(self.project))
            archive.writestr(".mlbundle/baseline/../../escaped.mlbundle.json", "{}")
            archive.writestr(".mlbundle/baseline/deep/other.mlbundle.json", "{}")
        shutil.rmtree(self.project / ".mlbundle")
        self.forge.files[DOWNLOAD] = sink.getvalue()


@pytest.fixture
def job(tmp_path: Path, forge: Forge) -> Job:
    return Job(project=checkout(tmp_path / "my project"), forge=forge)


def test_the_first_pipeline_has_no_baseline(job: Job) -> None:
    assert job.run() == 0, job.log
    assert "no baseline from main: " in job.log
    assert "**50.0 kB installed**, 2 files: `app`" in job.told()
    assert job.forge.methods() == ["GET"]
    assert job.forge.requests[0][2]["Job-Token"] == "j0b"


def test_growth_is_counted_from_the_last_pipeline_of_the_target_branch(job: Job) -> None:
    assert job.run() == 0, job.log
    job.keep()
    build(job.project / "dist" / "app", 62_300)
    assert job.run() == 0, job.log
    assert job.told().splitlines()[2] == "**+12.3 kB installed (+24.6 %)**: `app`"
    assert not list(job.project.rglob("escaped*"))
    assert not list(job.project.rglob("other*"))


def test_a_breach_fails_the_job_once_every_report_is_there(job: Job) -> None:
    build(job.project / "dist" / "app", 130_000)
    assert job.run() == 1
    assert "Over budget" in job.told()
    kept = job.project / ".mlbundle"
    (junit,) = kept.glob(JOB["artifacts"]["reports"]["junit"].removeprefix(".mlbundle/"))
    assert len(list(ET.parse(junit).iter("failure"))) == 1
    assert [path.name for path in sorted((kept / "reports" / "app").iterdir())] == [
        "junit.xml",
        "manifest.mlbundle.json",
        "report.html",
        "report.md",
        "report.sarif",
    ]
    assert [path.name for path in (kept / "baseline").iterdir()] == ["app.mlbundle.json"]


def test_metrics_are_open_metrics(job: Job) -> None:
    build(job.project / "dist" / 'a "b"\\', 20_000)
    assert job.run(MLBUNDLE_ARTIFACT="dist/*") == 0, job.log
    assert (job.project / JOB["artifacts"]["reports"]["metrics"]).read_text(encoding="utf-8").splitlines() == [
        "# TYPE mlbundle_installed_bytes gauge",
        'mlbundle_installed_bytes{artifact="a \\"b\\"\\\\"} 20000',
        'mlbundle_installed_bytes{artifact="app"} 50000',
        "# TYPE mlbundle_artifact_bytes gauge",
        'mlbundle_artifact_bytes{artifact="a \\"b\\"\\\\"} 20000',
        'mlbundle_artifact_bytes{artifact="app"} 50000',
        "# TYPE mlbundle_files gauge",
        'mlbundle_files{artifact="a \\"b\\"\\\\"} 2',
        'mlbundle_files{artifact="app"} 2',
        "# EOF",
    ]


def test_a_note_needs_a_token_and_is_changed_by_the_next_run(job: Job) -> None:
    assert job.run() == 0
    assert job.forge.comments == []
    assert job.run(MLBUNDLE_TOKEN="t0ken") == 0, job.log
    assert job.forge.requests[-1][:2] == ("POST", "/api/v4/projects/42/merge_requests/7/notes")
    build(job.project / "dist" / "app", 60_000)
    assert job.run(MLBUNDLE_TOKEN="t0ken") == 0, job.log
    (note,) = job.forge.comments
    assert "60.0 kB" in note["body"]
    assert job.forge.requests[-1][0] == "PUT"
    assert job.forge.requests[-1][2]["Private-Token"] == "t0ken"


def test_a_note_of_another_is_left_to_them(job: Job) -> None:
    job.forge.comments = [{"id": 1, "body": f"{marker('bundle')} all is well", "author": {"id": 9}}]
    assert job.run(MLBUNDLE_TOKEN="t0ken") == 0, job.log
    assert [note["author"]["id"] for note in job.forge.comments] == [9, 8]


def test_a_merge_request_from_a_fork_is_in_the_project_that_it_goes_into(job: Job) -> None:
    assert job.run() == 0, job.log
    job.keep()
    build(job.project / "dist" / "app", 50_300)
    assert job.run(CI_PROJECT_ID="77", MLBUNDLE_TOKEN="t0ken") == 0, job.log
    assert job.told().splitlines()[2] == "**+300 B installed (+0.6 %)**: `app`"
    assert job.forge.requests[-1][:2] == ("POST", "/api/v4/projects/42/merge_requests/7/notes")


def test_a_note_that_is_refused_is_told_and_no_failure(job: Job) -> None:
    job.forge.refused = {"POST": 403}
    assert job.run(MLBUNDLE_TOKEN="t0ken") == 0
    assert "no note on the merge request: POST " in job.log


def test_what_is_no_archive_is_no_baseline(job: Job) -> None:
    job.forge.files[DOWNLOAD] = b"<html>sign in</html>"
    assert job.run() == 0, job.log
    assert "no baseline from main: File is not a zip file" in job.log


def test_artifacts_without_manifests_are_no_baseline(job: Job) -> None:
    assert job.run() == 0, job.log
    job.keep()
    kept = job.forge.files[DOWNLOAD]
    empty = io.BytesIO()
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr(".mlbundle/summary.md", "")
    job.forge.files |= {DOWNLOAD: kept, DOWNLOAD.replace("/main/", "/release%2F1/"): empty.getvalue()}
    build(job.project / "dist" / "app", 50_300)
    assert job.run(CI_MERGE_REQUEST_TARGET_BRANCH_NAME="release/1") == 0, job.log
    assert "no baseline from release/1: there are no manifests in what the job left" in job.log
    assert job.told().splitlines()[2] == "**+300 B installed (+0.6 %)**: `app`"


def test_a_missing_artifact_is_told_in_one_line(job: Job) -> None:
    assert job.run(MLBUNDLE_ARTIFACT="dist/*.whl") == 2
    (line,) = (line for line in job.log.splitlines() if line.startswith("mlbundle: "))
    assert "dist/*.whl: there is no such artifact" in line


def test_hostile_names_are_data(job: Job) -> None:
    hostile = "$(touch pwned) `touch pwned` \"; touch pwned; ' ../x"
    build(job.project / "dist" / hostile.replace("/", "|"), 20_000)
    variables = {"MLBUNDLE_NAME": hostile, "CI_JOB_NAME": hostile, "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": hostile}
    assert job.run(script=WITHOUT_INSTALLING, MLBUNDLE_ARTIFACT="dist/*", MLBUNDLE_TOKEN="t", **variables) == 0, job.log
    assert not list(job.project.parent.rglob("pwned"))
    assert {path.partition("?")[0].rpartition("/")[2] for _, path, *_ in job.forge.requests} == {"download", "notes"}
    assert job.forge.comments[0]["body"].startswith(f"{marker(hostile)}\n")


def test_the_template_is_a_hidden_job_with_what_gitlab_shows() -> None:
    assert list(yaml.safe_load(TEMPLATE.read_text(encoding="utf-8"))) == [".mlbundle-size"]
    assert set(JOB) <= {"image", "stage", "variables", "script", "artifacts"}
    assert JOB["artifacts"]["when"] == "always"
    assert all(path.endswith("/") for path in JOB["artifacts"]["paths"]), "a folder without a slash is not exposed"


@pytest.mark.slow
def test_the_template_installs_what_it_needs(job: Job) -> None:
    for name in ("venv.py", "pip.py", "shutil.py", "json.py"):
        (job.project / name).write_text("import os; os.abort()", encoding="utf-8")
    assert job.run(script=SCRIPT, MLBUNDLE_REQUIREMENT=str(TEMPLATE.parents[2]), PYTHONPATH="") == 0, job.log
    assert "50.0 kB" in job.told()
