"""The job of `ci/gitlab/mlbundle.yml`: the baseline from the last pipeline, the reports, and a note on the merge request.

The variables are those of https://docs.gitlab.com/ci/variables/predefined_variables/ .
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import zipfile
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path, PurePosixPath
from urllib.parse import quote, urlencode

from hatch_mlbundle.atomic import make_folder
from hatch_mlbundle.manifest import SUFFIX
from hatch_mlbundle.reports.markdown_parts import marker

from .checking import BASELINES, Request, check_all
from .openmetrics import metrics
from .summary import summary
from .threads import ForgeError, Thread, ask, call

FOLDER = Path(".mlbundle")
"""Where the job's artifacts are, in the project's folder."""


def check(environment: Mapping[str, str]) -> int:
    """Check the artifacts and return the job's exit code, once every report is written; raises MlbundleError."""
    os.chdir(environment["CI_PROJECT_DIR"])
    request = Request.of(environment, FOLDER)
    shutil.rmtree(FOLDER / BASELINES, ignore_errors=True)
    if not request.baseline:
        _fetch_baselines(environment)
    checked = check_all(request)
    for each in checked:
        if each.said:
            print(each.said, file=sys.stderr)  # noqa: T201
    report = summary(request.name, checked)
    (FOLDER / "summary.md").write_text(report, encoding="utf-8")
    (FOLDER / "metrics.txt").write_text(metrics(checked), encoding="utf-8")
    _note(environment, marker(request.name), report)
    return max(each.exit_code for each in checked)


def _fetch_baselines(environment: Mapping[str, str]) -> None:
    """Take the manifests of this job's last success on the target branch, or on the default branch; without any, there is no growth."""
    query = urlencode({"job": environment.get("CI_JOB_NAME", "")})
    target = (_target(environment), environment.get("CI_MERGE_REQUEST_TARGET_BRANCH_NAME"))
    default = (environment["CI_PROJECT_ID"], environment.get("CI_DEFAULT_BRANCH"))
    for project, branch in dict.fromkeys([target, default]):
        if not branch:
            continue
        url = f"{_project(environment, project)}/jobs/artifacts/{quote(branch, safe='')}/download?{query}"
        try:
            if _unpack(call("GET", url, _headers(environment))):
                return
            problem = "there are no manifests in what the job left"
        except (ForgeError, zipfile.BadZipFile, zlib.error) as error:
            problem = str(error)
        print(f"no baseline from {branch}: {problem}", file=sys.stderr)  # noqa: T201


def _unpack(archive: bytes) -> int:
    """Write the manifests in a job's artifacts to where they are looked for, and return how many there are."""
    make_folder(FOLDER / BASELINES)
    with zipfile.ZipFile(io.BytesIO(archive)) as members:
        for member in members.namelist():
            path = PurePosixPath(member)
            if path.parent == PurePosixPath(FOLDER.name, BASELINES) and path.name.endswith(SUFFIX):
                (FOLDER / BASELINES / path.name).write_bytes(members.read(member))
    return len(list((FOLDER / BASELINES).iterdir()))


def _note(environment: Mapping[str, str], mark: str, report: str) -> None:
    """Put the report on the merge request where there are one and a token that may."""
    request, token = environment.get("CI_MERGE_REQUEST_IID"), environment.get("MLBUNDLE_TOKEN")
    if not (request and token):
        return
    headers = _headers(environment)
    notes = f"{_project(environment, _target(environment))}/merge_requests/{quote(request, safe='')}/notes"
    user = cache(lambda: _user(environment, headers))
    thread = Thread(
        comments=notes,
        comment=f"{notes}/{{id}}",
        method="PUT",
        headers=headers,
        ours=lambda each: (each.get("author") or {}).get("id") == user(),
    )
    try:
        thread.publish(mark, report)
    except ForgeError as error:
        print(f"no note on the merge request: {error}", file=sys.stderr)  # noqa: T201


def _user(environment: Mapping[str, str], headers: Mapping[str, str]) -> int:
    """Return the number of the user whom the token writes as; raises ForgeError."""
    url = f"{environment['CI_API_V4_URL']}/user"
    answer = ask("GET", url, headers)
    if not (isinstance(answer, dict) and isinstance(answer.get("id"), int)):
        raise ForgeError(f"GET {url}: what is answered does not say whom the token writes as")
    return int(answer["id"])


def _target(environment: Mapping[str, str]) -> str:
    """Return the project that a merge request goes into; where it comes from a fork, its pipeline runs in that one."""
    return environment.get("CI_MERGE_REQUEST_PROJECT_ID") or environment["CI_PROJECT_ID"]


def _project(environment: Mapping[str, str], project: str) -> str:
    return f"{environment['CI_API_V4_URL']}/projects/{quote(project, safe='')}"


def _headers(environment: Mapping[str, str]) -> dict[str, str]:
    token = environment.get("MLBUNDLE_TOKEN", "").strip()
    return {"PRIVATE-TOKEN": token} if token else {"JOB-TOKEN": environment.get("CI_JOB_TOKEN", "")}
