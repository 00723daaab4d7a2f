"""Sizes as OpenMetrics text (https://github.com/prometheus/OpenMetrics), which GitLab compares with the target branch's."""

from __future__ import annotations

from collections.abc import Iterable

from .checking import Checked


def metrics(checked: Iterable[Checked]) -> str:
    """Return the installed bytes, own bytes and number of files of each artifact."""
    present = [(_label(each.name), each.after) for each in checked if each.after]
    families = {
        "mlbundle_installed_bytes": [(label, after.installed) for label, after in present],
        "mlbundle_artifact_bytes": [(label, after.size) for label, after in present],
        "mlbundle_files": [(label, after.files) for label, after in present],
    }
    lines = []
    for family, values in families.items():
        lines += [f"# TYPE {family} gauge", *(f'{family}{{artifact="{label}"}} {value}' for label, value in values)]
    return "\n".join([*lines, "# EOF"]) + "\n"


def _label(text: str) -> str:
    plain = text.encode(errors="backslashreplace").decode()
    return plain.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
