"""Write what these pages have from the code anew (options, commands, the manifest, the plugin API); with --check, only compare."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

import plugin_api
from command_line import command_line
from manifest_fields import manifest_fields
from our_plugins import our_optimizers

from hatch_mlbundle import cli
from hatch_mlbundle.accuracy_settings import AccuracySettings
from hatch_mlbundle.binaries.gpu_licences import LICENCES
from hatch_mlbundle.budget_settings import BudgetOverride, BudgetRule, BudgetSettings
from hatch_mlbundle.config import DEFAULT_OPTIMIZERS, CacheSettings, Limits, PackingSettings, Settings
from hatch_mlbundle.freezing.options import FrozenOptions
from hatch_mlbundle.image_settings import ImageSettings
from hatch_mlbundle.optimizer import Options
from hatch_mlbundle.optimizers.external_options import ExternalModel
from hatch_mlbundle.plugins import OURS
from hatch_mlbundle.reference import OptionEntry, optimizer_entry, option_entries
from hatch_mlbundle.verify_settings import VerifyCommand, VerifySettings

PAGES = [
    Path(__file__).with_name(f"{name}.md")
    for name in (
        "accuracy",
        "budgets",
        "cli",
        "configuration",
        "frozen",
        "gpu-code",
        "hookspecs",
        "images",
        "manifest-schema",
        "models-outside",
        "verification",
        "what-may-break",
    )
]


def table(entries: Iterable[OptionEntry], prefix: str = "") -> str:
    rows = (f"| `{prefix}{each.name}` | {each.type} | `{each.written_default}` | {each.doc} |" for each in entries)
    return "\n".join(["| key | type | default | what it is |", "|---|---|---|---|", *rows])


def steps() -> str:
    """Return the table of all steps there are, with what they may do to an artifact."""
    rows = (
        f"| [`{each.name}`](#{each.name}) | {distribution} | {'yes' if each.lossless else 'no'} | {each.risk} "
        f"| {'by default' if each.name in DEFAULT_OPTIMIZERS else 'when named'} |"
        for each, distribution in our_optimizers().items()
    )
    return "\n".join(["| step | distribution | lossless | risk | runs |", "|---|---|---|---|---|", *rows])


def licences() -> str:
    """Return the table of libraries whose licence allows to change their GPU code."""

    def code(names: Iterable[str]) -> str:
        return ", ".join(f"`{name}`" for name in names)

    rows = (
        f"| {each.distribution} | {each.spdx} | {code(each.libraries)} | {code(each.links)} | {each.inside} | {each.source} |"
        for each in LICENCES
    )
    return "\n".join(["| distribution | licence | libraries | needs | inside | read in |", "|---|---|---|---|---|---|", *rows])


def sections() -> dict[str, str]:
    tables = {"packing": PackingSettings, "limits": Limits, "cache": CacheSettings}
    settings = table(option_entries(Settings, without=[*tables, "accuracy", "budget", "image", "verify"]))
    nested = [table(option_entries(cls), f"{name}.").split("\n", 2)[2] for name, cls in tables.items()]
    ours = [optimizer_entry(each, name, "") for each, name in our_optimizers().items() if name == OURS]
    optimizers = (f"### `{entry.name}`\n\n{entry.summary}\n\n{table(entry.options)}" for entry in ours)
    return {
        "settings": "\n".join([settings, *nested]),
        "common": table(option_entries(Options)),
        "optimizers": "\n\n".join(optimizers),
        "accuracy": table(option_entries(AccuracySettings)),
        "budget": table(option_entries(BudgetSettings, without=["rules", "overrides"])),
        "budget-rule": table(option_entries(BudgetRule)),
        "budget-override": table(option_entries(BudgetOverride)),
        "external-model": table(option_entries(ExternalModel)),
        "frozen": table(option_entries(FrozenOptions)),
        "image": table(option_entries(ImageSettings)),
        "licences": licences(),
        "cli": command_line(cli.build_parser(*cli.command_names())),
        "manifest": manifest_fields(),
        "steps": steps(),
        "verify": table(option_entries(VerifySettings, without=["commands"])),
        "verify-command": table(option_entries(VerifyCommand)),
        **{name: plugin_api.hook_reference(name) for name in plugin_api.hooks()},
        "api": plugin_api.reference(),
    }


def updated(text: str) -> str:
    for name, content in sections().items():
        text = re.sub(
            f"(<!-- {name} -->\n).*?(<!-- end -->)", lambda match, new=content: f"{match[1]}{new}\n{match[2]}", text, flags=re.DOTALL
        )
    return text


if __name__ == "__main__":
    texts = {page: page.read_text(encoding="utf-8") for page in PAGES}
    outdated = [page for page, text in texts.items() if updated(text) != text]
    if "--check" in sys.argv and outdated:
        sys.exit(f"{', '.join(map(str, outdated))}: out of date; run python docs/update.py")
    for page in outdated:
        page.write_text(updated(texts[page]), encoding="utf-8")
