"""Runs the steps of a composite action as GitHub's runner does: expressions, environment files, and what the actions it uses do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from commands import run_here

_EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
_NAME = re.compile(r"[a-z]+\.[\w.-]+")
_OURS = re.compile(r'"\$MLBUNDLE_PYTHON" -m hatch_mlbundle\.ci ([\w-]+)\s*')


@dataclass
class Runner:
    """A runner with its folders, a cache of folders by key, and what happened on it."""

    root: Path
    action: Path
    cache: dict[str, Path] = field(default_factory=dict)
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    used: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)
    log: str = ""
    given: dict[str, dict[str, str]] = field(default_factory=dict)
    """Outputs of steps, by their id, that are not run."""
    scripts: bool = False
    """Whether steps that only call our own command are run by bash, too, instead of in this process."""

    @property
    def workspace(self) -> Path:
        return self.root / "work"

    @property
    def temp(self) -> Path:
        return self.root / "temp"

    @property
    def summary(self) -> Path:
        return self.root / "summary.md"

    def run(self, inputs: Mapping[str, str], environment: Mapping[str, str]) -> int:
        """Run all steps and return the exit code of the first that fails, else 0."""
        definition = yaml.safe_load(self.action.read_text(encoding="utf-8"))
        self._start()
        values = {name: str(each.get("default", "")) for name, each in definition["inputs"].items()}
        known = {
            **{f"inputs.{name}": value for name, value in values.items()},
            **{f"inputs.{name}": value for name, value in inputs.items()},
        }
        known |= {"runner.temp": str(self.temp), "github.token": "t0ken", "github.event_name": environment["GITHUB_EVENT_NAME"]}
        known = {name: self._filled(value, known) for name, value in known.items()}
        for step in definition["runs"]["steps"]:
            if code := self._step(step, known, environment):
                return code
        return 0

    def _start(self) -> None:
        """Begin as on a new machine: nothing is left but the workspace and the cache."""
        shutil.rmtree(self.temp, ignore_errors=True)
        self.temp.mkdir(parents=True)
        self.outputs, self.used, self.ran, self.log = dict(self.given), [], [], ""
        self.summary.write_text("", encoding="utf-8")

    def _step(self, step: dict[str, Any], known: Mapping[str, str], environment: Mapping[str, str]) -> int:
        identity = step.get("id", step["name"])
        if identity in self.given or not self._true(step.get("if", "true"), known):
            return 0
        self.ran.append(step["name"])
        if "uses" in step:
            values = {name: self._filled(str(value), known) for name, value in step["with"].items()}
            self.used.append((step["uses"], values))
            self.outputs[identity] = self._use(step["uses"].partition("@")[0], values)
            return 0
        return self._script(step, identity, known, environment)

    def _script(self, step: dict[str, Any], identity: str, known: Mapping[str, str], environment: Mapping[str, str]) -> int:
        files = {name: self.root / f"{name}.txt" for name in ("GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_PATH")}
        for file in files.values():
            file.write_text("", encoding="utf-8")
        script = self.root / "script.sh"
        script.write_text(self._filled(step["run"], known), encoding="utf-8")
        variables = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH", "XDG_CACHE_HOME") if name in os.environ},
            **{name: str(path) for name, path in files.items()},
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "GITHUB_WORKSPACE": str(self.workspace),
            "GITHUB_ACTION_PATH": str(self.action.parent),
            "RUNNER_TEMP": str(self.temp),
            "RUNNER_OS": "Linux",
            **environment,
            **{name: self._filled(str(value), known) for name, value in step.get("env", {}).items()},
        }
        folder = self._filled(step.get("working-directory", str(self.workspace)), known)
        ours = None if self.scripts else _OURS.fullmatch(step["run"])
        code, said = run_here(ours[1], Path(folder), variables) if ours else _bash(script, folder, variables)
        self.log += said
        self.outputs[identity] = read_outputs(files["GITHUB_OUTPUT"].read_text(encoding="utf-8"))
        return code

    def _use(self, action: str, values: Mapping[str, str]) -> dict[str, str]:
        if action == "actions/cache/restore":
            prefixes = [values["key"], *values["restore-keys"].splitlines()]
            found = next((key for prefix in prefixes for key in reversed(self.cache) if key.startswith(prefix)), None)
            if found:
                shutil.copytree(self.cache[found], values["path"], dirs_exist_ok=True)
        elif action == "actions/cache/save":
            assert values["key"] not in self.cache, "a key cannot be saved twice"
            self.cache[values["key"]] = self.root / "cache" / str(len(self.cache))
            shutil.copytree(values["path"], self.cache[values["key"]])
        elif action == "actions/upload-artifact":
            assert any(Path(values["path"]).rglob("*.html"))
            return {"artifact-url": "https://forge.example/artifacts/7"}
        return {}

    def _filled(self, text: str, known: Mapping[str, str]) -> str:
        return _EXPRESSION.sub(lambda match: self._value(match[1], known), text)

    def _value(self, name: str, known: Mapping[str, str]) -> str:
        if name.startswith("steps."):
            _, identity, _, output = name.split(".")
            return self.outputs.get(identity, {}).get(output, "")
        return known[name]

    def _true(self, condition: str, known: Mapping[str, str]) -> bool:
        """Evaluate the few expressions there are: comparisons of strings, `&&`, startsWith."""
        text = _NAME.sub(lambda match: repr(self._value(match[0], known)), condition).replace("&&", " and ")
        return bool(eval(text, {"__builtins__": {}}, {"startsWith": str.startswith, "true": True}))


def _bash(script: Path, folder: str, variables: Mapping[str, str]) -> tuple[int, str]:
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", script]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, timeout=300, check=False)
    return done.returncode, done.stdout.decode("utf-8", "backslashreplace") + done.stderr.decode("utf-8", "backslashreplace")


def read_outputs(text: str) -> dict[str, str]:
    """Return the outputs in a file, `name=value` or with a delimiter of their own."""
    lines, outputs = iter(text.splitlines()), {}
    for line in lines:
        name, heredoc, end = line.partition("<<")
        if heredoc and "=" not in name:
            value = []
            for following in lines:
                if following == end:
                    break
                value.append(following)
            outputs[name] = "\n".join(value)
        else:
            outputs.update([line.split("=", 1)])
    return outputs
