"""The hatch build hook: checks everything before the build, makes the finished wheel small after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.utils import canonicalize_name

from hatch_mlbundle.adapters.ending import ended_by_termination, one_line, remove_what_tells, summary_lines
from hatch_mlbundle.adapters.project import project_config
from hatch_mlbundle.application import optimize
from hatch_mlbundle.beside import COMPANIONS, TELLING, beside
from hatch_mlbundle.bundles.atomic_folder import remove_folder
from hatch_mlbundle.job import Job, prepare
from hatch_mlbundle.model import Finding
from hatch_mlbundle.plugins import load_registry
from hatch_mlbundle.runtime.models.places import NEIGHBOUR


class MlbundleBuildHook(BuildHookInterface[BuilderConfig]):
    """Runs for wheels that are to be distributed: not for sdists, nor for editable installs."""

    PLUGIN_NAME = "mlbundle"

    _job: Job | None = None
    _finished = False

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Read the configuration and find the programs it needs, so that a fault costs no build."""
        self._finished = False
        self._job = None
        if self.target_name == "wheel" and version != "editable":
            with one_line(self.app.abort):
                self._job = self._prepare()

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Replace the wheel by the small one, write its manifest, show what was saved."""
        if self._job is None:
            return
        wheel = Path(artifact_path)
        with one_line(self.app.abort, f"{wheel.name} stays as hatch built it"), _nothing_stale(self._job, wheel), ended_by_termination():
            result = optimize(self._job, wheel, findings=_order_findings(build_data))
            for line in summary_lines(self._job, result, wheel):
                self.app.display_info(line)
        self._finished = True

    def clean(self, versions: list[str]) -> None:
        """Remove the manifests, companions and models of this project's wheels; not in a clean-up right after they were made."""
        if self.target_name == "wheel" and not self._finished:
            with one_line(self.app.abort):
                for folder in {beside(self._prepare(), Path(self.directory) / "any").parent, Path(self.directory)}:
                    self._remove_ours(folder)

    def _prepare(self) -> Job:
        registry = load_registry()
        root = Path(self.root)
        return prepare(project_config(root, registry), registry, project=root)

    def _remove_ours(self, folder: Path) -> None:
        name = canonicalize_name(self.metadata.core.name)
        for path in folder.glob("*.whl*"):
            if canonicalize_name(path.name.partition("-")[0]) != name:
                continue
            if path.name.endswith(TELLING):
                path.unlink()
            elif path.name.endswith((COMPANIONS, NEIGHBOUR)):
                remove_folder(path)


def _order_findings(build_data: dict[str, Any]) -> list[Finding]:
    hooks = build_data.get("build_hooks", ())
    if not hooks or hooks[-1] == MlbundleBuildHook.PLUGIN_NAME:
        return []
    later = ", ".join(repr(hook) for hook in hooks[hooks.index(MlbundleBuildHook.PLUGIN_NAME) + 1 :])
    message = f"mlbundle misses what hooks after it do to the finished wheel ({later}); list mlbundle last"
    return [Finding(code="MB001", message=message)]


@contextmanager
def _nothing_stale(job: Job, wheel: Path) -> Iterator[None]:
    """Remove the manifest and companions of an earlier build where this one fails: they tell of another wheel."""
    try:
        yield
    except BaseException:
        remove_what_tells(job, wheel)
        raise
