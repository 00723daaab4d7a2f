"""The steps of `ci/github/action.yml`: outputs, the job's summary, annotations, and the comment on a pull request.

The files and commands are those of https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands .
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from hatch_mlbundle.errors import MlbundleError
from hatch_mlbundle.reports.markdown_parts import code, marker

from .checking import BASELINES, Checked, Request, check_all
from .slugs import slug
from .summary import grown, summary
from .threads import ForgeError, RefusedError, Thread, ask

_SHOWN = 10
"""Annotations of one level that GitHub shows of a step."""

_OWN = ("push", "schedule", "workflow_dispatch")
"""Events after which the sizes are those of the branch itself; `workflow_run` may have a stranger's artifact on the default branch."""

_LEVELS = {"error": "error", "warning": "warning", "note": "notice"}


def prepare(environment: Mapping[str, str]) -> int:
    """Tell the folder of the reports, and under which keys the cache has the baseline."""
    name = environment.get("MLBUNDLE_NAME") or "bundle"
    default = _default_branch(environment)
    target = environment.get("GITHUB_BASE_REF") or default
    place = f"mlbundle-{slug(name)}-{environment.get('RUNNER_OS', '')}"
    run = f"{environment.get('GITHUB_RUN_ID', '')}-{environment.get('GITHUB_RUN_ATTEMPT', '')}"
    folder = _folder(environment)
    _output(environment, "folder", str(folder))
    _output(environment, "baseline", str(folder / BASELINES))
    _output(environment, "reports", f"mlbundle-{slug(name)}")
    _output(environment, "key", f"{place}:{slug(_pushed(environment) or default)}:{run}")
    _output(environment, "prefixes", "\n".join(f"{place}:{slug(branch)}:" for branch in dict.fromkeys([target, default])))
    return 0


def check(environment: Mapping[str, str]) -> int:
    """Check the artifacts and tell what came of it; the exit code is an output, so that the reports get out before the job fails."""
    os.chdir(environment["GITHUB_WORKSPACE"])
    try:
        request = Request.of(environment, _folder(environment))
        with _commands_stopped():
            checked = check_all(request)
            _print_said(checked)
    except MlbundleError as error:
        _command("error", error.told(), title="mlbundle")
        _append(environment, "GITHUB_STEP_SUMMARY", f"**Nothing could be checked**: {code(error.told())}\n")
        return error.exit_code
    report = summary(request.name, checked)
    place = request.folder / "summary.md"
    place.write_text(report, encoding="utf-8")
    _append(environment, "GITHUB_STEP_SUMMARY", report)
    _annotate(checked, request.project)
    _tell(environment, checked, place)
    return 0


def comment(environment: Mapping[str, str]) -> int:
    """Put the report on the pull request, into the comment of the run before; where that cannot be, the job does not fail for it."""
    report = Path(environment["MLBUNDLE_MARKDOWN"]).read_text(encoding="utf-8")
    url = environment.get("MLBUNDLE_HTML_URL", "")
    if url:
        report += f"\n[Interactive report]({url})\n"
    number = _event(environment).get("pull_request", {}).get("number")
    if not isinstance(number, int):
        return 0
    api = f"{environment['GITHUB_API_URL']}/repos/{environment['GITHUB_REPOSITORY']}"
    headers = {"Accept": "application/vnd.github+json", "Authorization": f"Bearer {environment.get('MLBUNDLE_TOKEN', '').strip()}"}
    login = cache(lambda: _login(environment, headers))
    thread = Thread(
        comments=f"{api}/issues/{number}/comments",
        comment=f"{api}/issues/comments/{{id}}",
        method="PATCH",
        headers=headers,
        ours=lambda each: (each.get("user") or {}).get("login") == login(),
    )
    try:
        thread.publish(marker(environment.get("MLBUNDLE_NAME") or "bundle"), report)
    except RefusedError as error:
        _command("notice", f"This token may not comment on the pull request (a fork's may only read): see the job's summary. {error}")
    except ForgeError as error:
        _command("warning", f"The comment on the pull request could not be written: see the job's summary. {error}")
    return 0


def _login(environment: Mapping[str, str], headers: Mapping[str, str]) -> str:
    """Return whom the token writes as; raises ForgeError. `GET /user` does not answer a job's token, GraphQL's `viewer` does."""
    url = environment.get("GITHUB_GRAPHQL_URL") or "https://api.github.com/graphql"
    answer = ask("POST", url, headers, {"query": "{ viewer { login } }"})
    try:
        return str(answer["data"]["viewer"]["login"])
    except (KeyError, TypeError) as error:
        raise ForgeError(f"POST {url}: what is answered does not say whom the token writes as") from error


def _folder(environment: Mapping[str, str]) -> Path:
    return Path(environment["RUNNER_TEMP"]) / "mlbundle" / slug(environment.get("MLBUNDLE_NAME") or "bundle")


def _event(environment: Mapping[str, str]) -> dict[str, Any]:
    event = json.loads(Path(environment["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))
    return event if isinstance(event, dict) else {}


def _default_branch(environment: Mapping[str, str]) -> str:
    return str(_event(environment).get("repository", {}).get("default_branch") or "main")


def _pushed(environment: Mapping[str, str]) -> str | None:
    """Return the branch whose own state is checked, None of a pull request and of what others may set off on the default branch."""
    branch = environment.get("GITHUB_REF", "").removeprefix("refs/heads/")
    own = environment.get("GITHUB_EVENT_NAME") in _OWN and branch != environment.get("GITHUB_REF", "")
    return branch if own else None


def _output(environment: Mapping[str, str], name: str, value: str) -> None:
    end = secrets.token_hex(16)  # nothing in the value can end it
    _append(environment, "GITHUB_OUTPUT", f"{name}<<{end}\n{value}\n{end}\n")


def _append(environment: Mapping[str, str], variable: str, text: str) -> None:
    with Path(environment[variable]).open("a", encoding="utf-8") as sink:
        sink.write(text)


def _tell(environment: Mapping[str, str], checked: Sequence[Checked], place: Path) -> None:
    growth = grown(checked)
    after = [each.after for each in checked if each.after]
    exit_code = max(each.exit_code for each in checked)
    outputs = {
        "installed": str(sum(each.installed for each in after)),
        "compressed": str(sum(each.size for each in after)),
        "growth": "" if growth is None else str(growth),
        "breaches": str(sum(each.breaches for each in checked)),
        "markdown": str(place),
        "exit-code": str(exit_code),
        "save": str(_pushed(environment) is not None and exit_code <= 1).lower(),
    }
    for name, value in outputs.items():
        _output(environment, name, value)


def _annotate(checked: Sequence[Checked], project: Path) -> None:
    """Show breaches and findings where they come from; what could not be checked, without a place."""
    for each in checked:
        if each.exit_code > 1:
            _command("error", each.said, title=f"mlbundle: {each.name}")
    shown = dict.fromkeys(_LEVELS.values(), 0)
    for each in checked:
        for level, message, place in _results(each):
            shown[level] += 1
            if shown[level] <= _SHOWN:
                file = {"file": (project / place["file"]).as_posix(), "line": place["line"]} if place else {}
                _command(level, message, title=f"mlbundle: {each.name}", **file)


def _results(checked: Checked) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield the level, message and place of each result in the SARIF report."""
    if not checked.sarif.exists():
        return
    for run in json.loads(checked.sarif.read_text(encoding="utf-8"))["runs"]:
        for result in run.get("results", []):
            place: dict[str, str] = {}
            for location in result.get("locations", [])[:1]:
                physical = location.get("physicalLocation", {})
                place = {"file": physical["artifactLocation"]["uri"], "line": str(physical.get("region", {}).get("startLine", 1))}
            yield _LEVELS.get(result.get("level", "warning"), "notice"), result["message"]["text"], place


def _command(level: str, message: str, **properties: str) -> None:
    """Print a workflow command; whatever the text has in it, it is one line and no other command."""
    told = ",".join(f"{name}={_escaped(value).replace(':', '%3A').replace(',', '%2C')}" for name, value in properties.items())
    _print(f"::{level}{f' {told}' if told else ''}::{_escaped(message)}")


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


@contextmanager
def _commands_stopped() -> Iterator[None]:
    """Let nothing that the body prints be a command: names of files are in it."""
    token = secrets.token_hex(16)
    _print(f"::stop-commands::{token}")
    try:
        yield
    finally:
        _print(f"::{token}::")


def _print_said(checked: Sequence[Checked]) -> None:
    for each in checked:
        if each.said:
            _print(each.said)


def _print(text: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)  # noqa: T201
