from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pytest

from hatch_mlbundle.config import DEFAULT_OPTIMIZERS, Config, available_cores, decisive_settings, options_to_dict, read_config
from hatch_mlbundle.errors import ConfigurationError
from hatch_mlbundle.optimizer import Options, option
from hatch_mlbundle.plugins import load_registry


@dataclass(frozen=True, kw_only=True)
class StripOptions(Options):
    tool: Literal["builtin", "llvm"] = option("Which tool.", default="builtin")
    keep_debug: bool = option("Whether to keep debug data.", default=False)


KNOWN = {**dict.fromkeys(DEFAULT_OPTIMIZERS, Options), "strip": StripOptions, "spare": Options}


def read(table: object, overlay: Mapping[str, object] | None = None) -> Config:
    return read_config(table, KNOWN, overlay=overlay, overlay_path="tool.hatch.hook")


def faults_of(table: object, overlay: Mapping[str, object] | None = None) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read(table, overlay)
    return list(caught.value.faults)


def test_nothing_configured_is_the_defaults() -> None:
    config = read({})
    assert [step.name for step in config.steps] == list(DEFAULT_OPTIMIZERS)
    assert config.idle == ()
    assert config.settings.compression_level == 6
    assert config.settings.cache.max_size == 5 * 10**9


def test_the_list_is_the_order() -> None:
    config = read({"optimizers": ["strip", "spare", "exclude"], "strip": {"tool": "llvm"}})
    assert [(step.name, step.options) for step in config.steps] == [
        ("strip", StripOptions(tool="llvm")),
        ("spare", Options()),
        ("exclude", Options()),
    ]


def test_a_disabled_optimizer_is_no_step_and_not_idle() -> None:
    config = read({"strip": {"enabled": False}})
    assert [step.name for step in config.steps] == [name for name in DEFAULT_OPTIMIZERS if name != "strip"]
    assert config.idle == ()


def test_options_of_what_is_not_listed_are_idle() -> None:
    assert read({"optimizers": ["exclude"], "strip": {}, "spare": {"include": ["*"]}}).idle == ("strip", "spare")


def test_all_faults_at_once_each_with_its_path() -> None:
    table = {
        "optimizers": ["stripp", "exclude", "exclude"],
        "stirct": True,
        "strip": {"tool": "lvm", "keep_debug": True, "include": "*.so"},
        "compression-level": 0,
        "workers": -1,
        "limits": {"max-ratio": 0, "max-size": "many"},
        "cache": {"max-size": "1 QB"},
        "archive": ["tar.xz", "zip", "zip"],
        "packing": {"zstd-level": 23, "zstd-window": 9, "gzip-level": 0, "zip-level": 13, "level": 3},
    }
    assert sorted(faults_of(table)) == sorted(
        [
            "tool.mlbundle.optimizers[0]: unknown optimizer 'stripp'; did you mean 'strip'?",
            "tool.mlbundle.optimizers[2]: 'exclude' is listed twice",
            "tool.mlbundle.stirct: unknown key or optimizer; did you mean 'strict'?",
            "tool.mlbundle.strip.tool: must be one of 'builtin', 'llvm', not 'lvm'; did you mean 'llvm'?",
            "tool.mlbundle.strip.keep_debug: unknown key; did you mean 'keep-debug'?",
            "tool.mlbundle.strip.include: must be a list, not '*.so'",
            "tool.mlbundle.compression-level: must be from 1 to 12, not 0",
            "tool.mlbundle.workers: must be 0 or more, not -1",
            "tool.mlbundle.limits.max-ratio: must be 1 or more, not 0",
            "tool.mlbundle.limits.max-size: 'many' is not a size; write it like '250 MB' or '2 GiB'",
            "tool.mlbundle.cache.max-size: '1 QB' is not a size; write it like '250 MB' or '2 GiB'",
            "tool.mlbundle.archive[0]: must be one of 'tar.zst', 'tar.gz', 'zip', not 'tar.xz'; did you mean 'tar.gz'?",
            "tool.mlbundle.archive[2]: 'zip' is listed twice",
            "tool.mlbundle.packing.zstd-level: must be from 1 to 22, not 23",
            "tool.mlbundle.packing.zstd-window: must be 0, or from 10 to 31, not 9",
            "tool.mlbundle.packing.gzip-level: must be from 1 to 9, not 0",
            "tool.mlbundle.packing.zip-level: must be from 1 to 12, not 13",
            "tool.mlbundle.packing.level: unknown key; did you mean 'zip-level'?",
        ]
    )


def test_a_fault_in_the_list_keeps_the_others_places() -> None:
    assert sorted(faults_of({"optimizers": [3, "stripp"]})) == [
        "tool.mlbundle.optimizers[0]: must be a string, not 3",
        "tool.mlbundle.optimizers[1]: unknown optimizer 'stripp'; did you mean 'strip'?",
    ]


@pytest.mark.parametrize("level", [1, 9, 12])
def test_the_ends_of_a_range_belong_to_it(level: int) -> None:
    assert read({"compression-level": level}).settings.compression_level == level


@pytest.mark.parametrize("level", [0, 13, -1])
def test_what_lies_outside_a_range(level: int) -> None:
    assert faults_of({"compression-level": level}) == [f"tool.mlbundle.compression-level: must be from 1 to 12, not {level}"]


@pytest.mark.parametrize("table", [3, "text", [1], None])
def test_what_is_no_table(table: object) -> None:
    assert faults_of(table) == ["tool.mlbundle: must be a table"]


@pytest.mark.parametrize("window", [0, 10, 27, 31])
def test_windows_that_zstd_has(window: int) -> None:
    assert read({"packing": {"zstd-window": window}}).settings.packing.zstd_window == window


@pytest.mark.parametrize("window", [-1, 9, 32])
def test_windows_that_zstd_has_not(window: int) -> None:
    assert faults_of({"packing": {"zstd-window": window}}) == [
        f"tool.mlbundle.packing.zstd-window: must be 0, or from 10 to 31, not {window}"
    ]


def test_an_overlay_replaces_key_by_key() -> None:
    base = {"optimizers": ["strip", "exclude"], "strip": {"tool": "llvm", "keep-debug": True}, "workers": 3}
    config = read(base, {"strip": {"tool": "builtin"}, "strict": True})
    assert [step.name for step in config.steps] == ["strip", "exclude"]
    assert config.steps[0].options == StripOptions(tool="builtin", keep_debug=False)
    assert (config.settings.strict, config.workers) == (True, 3)


def test_a_fault_is_told_where_it_stands() -> None:
    base = {"strip": {"tool": "x"}, "strict": 1}
    over = {"strip": {"keep-debug": 1}, "exlude": {}, "optimizers": ["nothing"]}
    assert sorted(faults_of(base, over)) == [
        "tool.hatch.hook.exlude: unknown key or optimizer; did you mean 'exclude'?",
        "tool.hatch.hook.optimizers[0]: unknown optimizer 'nothing'",
        "tool.hatch.hook.strip.keep-debug: must be true or false, not 1",
        "tool.mlbundle.strict: must be true or false, not 1",
    ]


def test_no_workers_means_every_core() -> None:
    assert read({"workers": 0}).workers == available_cores() >= 1


def test_an_optimizer_by_hyphens_is_told_its_right_name() -> None:
    assert faults_of({"test-data": {}}) == ["tool.mlbundle.test-data: unknown key or optimizer; did you mean 'test_data'?"]


def test_options_go_back_to_toml() -> None:
    assert options_to_dict(StripOptions(include=("a", "b"))) == {
        "enabled": True,
        "include": ["a", "b"],
        "exclude": [],
        "timeout": 3600.0,
        "tool": "builtin",
        "keep-debug": False,
    }


def test_what_the_machine_decides_is_no_decisive_setting() -> None:
    here, there = read({"workers": 1, "cache": {"folder": "/a"}}), read({"workers": 8, "cache": {"enabled": False}})
    assert decisive_settings(here) == decisive_settings(there)
    assert decisive_settings(here) != decisive_settings(read({"compression-level": 9}))
    assert decisive_settings(here) != decisive_settings(read({"optimizers": ["strip"]}))


@pytest.mark.parametrize("glob", ["!", "a\\", "[z-a]"])
@pytest.mark.parametrize("key", ["include", "exclude"])
def test_a_glob_that_is_none(glob: str, key: str) -> None:
    assert faults_of({"strip": {key: ["*.so", glob]}}) == [f"tool.mlbundle.strip.{key}[1]: {glob!r} is no glob"]


def test_a_glob_in_an_option_of_its_own() -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_config({"exclude": {"paths": ["!", "!a"]}}, load_registry().option_types())
    assert caught.value.faults == ("tool.mlbundle.exclude.paths[0]: '!' is no glob",)


@pytest.mark.parametrize("code", ["MB", "MB1", "MB10", "MB103"])
def test_a_code_or_its_beginning_can_be_ignored(code: str) -> None:
    assert read({"ignore": [code]}).settings.ignore == (code,)


@pytest.mark.parametrize("code", ["", "M", "mb103", "MB1033", "MB10x", "MB\u0661", " MB1", "MB103\n"])
def test_what_is_no_code_is_not_ignored(code: str) -> None:
    fault = f"must be the code of a finding or its beginning, like 'MB103' or 'MB1', not {code!r}"
    assert faults_of({"ignore": ["MB1", code]}) == [f"tool.mlbundle.ignore[1]: {fault}"]


def test_a_wrong_type_among_codes_keeps_the_others_places() -> None:
    assert [fault.partition(":")[0] for fault in faults_of({"ignore": [3, "x"]})] == ["tool.mlbundle.ignore[0]", "tool.mlbundle.ignore[1]"]


def test_what_verify_cannot_use_is_told_with_its_place() -> None:
    commands = [{"run": []}, {"run": ["x"], "environment": ["novalue"], "relative-tolerance": -1.0}, {"runs": ["x"]}]
    assert faults_of({"verify": {"timeout": 0.0, "repeat": 0, "commands": commands}}) == [
        "tool.mlbundle.verify.commands[2].runs: unknown key; did you mean 'run'?",
        "tool.mlbundle.verify.timeout: must be 0.1 or more, not 0.0",
        "tool.mlbundle.verify.repeat: must be 1 or more, not 0",
        "tool.mlbundle.verify.commands[0].run: must name a program, like ['{bundle}/app', '--version']",
        "tool.mlbundle.verify.commands[1].environment[0]: must be like 'NAME=value', not 'novalue'",
        "tool.mlbundle.verify.commands[1].relative-tolerance: must be 0 or more, not -1.0",
        "tool.mlbundle.verify.commands[2].run: must name a program, like ['{bundle}/app', '--version']",
    ]


def test_verify_is_read_with_its_commands() -> None:
    verify = read({"verify": {"jail": True, "commands": [{"run": ["{bundle}/app"], "output": "numeric"}]}}).settings.verify
    assert (verify.jail, verify.on_failure, verify.commands[0].run, verify.commands[0].output) == (
        True,
        "revert",
        ("{bundle}/app",),
        "numeric",
    )
