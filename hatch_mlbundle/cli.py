"""The command `mlbundle`. Results go to standard output, progress and faults to standard error."""

from __future__ import annotations

import argparse
import gc
import math
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import __version__, crash, verify_command
from .errors import MlbundleError
from .late import late
from .profile import FILE_NAME
from .standard_output import discard_output

if TYPE_CHECKING:
    from . import commands, model_commands, report_commands, trace_command
else:
    commands, model_commands, report_commands, trace_command = (
        late(f"{__package__}.{name}") for name in ("commands", "model_commands", "report_commands", "trace_command")
    )

_COLLECTED = 1_000_000
"""Objects made between two collections of garbage: syntax trees are many, and looking for cycles in them takes a fifth of the time."""


_SUBJECT = "a manifest, a wheel, a frozen bundle, a one-file executable, a container image or any folder"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 fine, 1 a finding or a limit failed, 2 wrong use or input, 3 our bug."""
    _end_on_termination()
    gc.set_threshold(_COLLECTED)
    try:
        options = _parsed(sys.argv[1:] if arguments is None else arguments)
        options.run(options)
    except MlbundleError as error:
        _complain(error.told())
        return error.exit_code
    except KeyboardInterrupt:
        _complain("mlbundle: interrupted")
        return crash.INTERRUPTED
    except BrokenPipeError:
        discard_output()
    except Exception as error:
        _complain(crash.report(error))
        return crash.EXIT_CODE
    return 0


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments; of `explore`, those behind `--` are a command, which argparse would take options out of the midst of."""
    own, command = list(arguments), []
    if own[:1] == ["explore"] and "--" in own:
        own, command = own[: own.index("--")], own[own.index("--") + 1 :]
    options = _parser().parse_args(own)
    if own[:1] == ["explore"]:
        options.command = command
    return options


def _end_on_termination() -> None:
    """Let SIGTERM, which continuous integration sends, end the work as Ctrl-C does: with everything tidied up."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(crash.TERMINATED))


def _complain(message: str) -> None:
    from rich.console import Console  # costs 40 ms, and most runs need none

    Console(stderr=True, highlight=False, soft_wrap=True).print(message, style="red", markup=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mlbundle", description="Make wheels and frozen bundles of ML applications small, and account for every byte."
    )
    parser.add_argument("--version", action="version", version=f"mlbundle {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_plan(subparsers)
    _add_optimize(subparsers)
    _add_analyze(subparsers)
    _add_compare(subparsers)
    verify_command.add_to(subparsers)
    _add_check(subparsers)
    _add_explore(subparsers)
    _add_measure(subparsers)
    _add_trace(subparsers)
    _add_models(subparsers)
    _add_plugins(subparsers)
    _add_cache(subparsers)
    return parser


def _add_plan(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _command(subparsers, "plan", commands.plan, "say what optimize would do, and why; change nothing")
    parser.add_argument("artifact", type=Path, help="a wheel, a frozen bundle, any folder, or a container image")
    _add_top(parser, 10, "changes to show for each step")
    parser.add_argument("--json", action="store_true", help="every change, as JSON")
    _add_work_options(parser)


def _add_optimize(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _command(subparsers, "optimize", commands.optimize, "make wheels, frozen bundles, folders or container images small")
    parser.add_argument(
        "artifacts", type=Path, nargs="+", metavar="artifact", help="a wheel, a frozen bundle, any folder, or a container image"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="OUT", help="where the result goes (without it, it replaces the artifact)")
    parser.add_argument("--strict", action="store_true", help="fail, and replace nothing, where there is a finding")
    parser.add_argument("--no-verify", action="store_true", help="do without the commands in [tool.mlbundle.verify]")
    parser.add_argument("--no-budget", action="store_true", help="do without the limits in [tool.mlbundle.budget]; the manifest says so")
    _add_work_options(parser)


def _add_analyze(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _command(subparsers, "analyze", report_commands.analyze, "show what takes the space")
    parser.add_argument("artifact", type=Path, help=_SUBJECT)
    parser.add_argument("--no-hashes", dest="hashes", action="store_false", help="only look at sizes: quick, but duplicates stay unknown")
    parser.add_argument("--suggest", action="store_true", help="say what steps that are not in `optimizers` would save")
    parser.add_argument("--advice", action="store_true", help="of a container image: say line by line how it gets smaller, for and against")
    parser.add_argument("--svg", type=_report, metavar="FILE", help="write the treemap as a picture")
    parser.add_argument("--png", type=_report, metavar="FILE", help="the same as PNG (needs Pillow)")
    _add_report_options(parser)


def _add_compare(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _command(subparsers, "compare", report_commands.compare_two, "show how one artifact differs from another")
    parser.add_argument("before", type=Path, help=_SUBJECT)
    parser.add_argument("after", type=Path, help="another one, of whatever sort")
    _add_report_options(parser)


def _add_check(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _command(
        subparsers, "check", report_commands.check, "hold an artifact against [tool.mlbundle.budget]; exit code 1 where it is over"
    )
    parser.add_argument("artifact", type=Path, help=_SUBJECT)
    parser.add_argument("--baseline", type=Path, metavar="BASE", help="what growth is counted from, instead of the configured manifest")
    parser.add_argument("--junit", type=_report, metavar="FILE", help="write the limits as JUnit test cases")
    parser.add_argument("--sarif", type=_report, metavar="FILE", help="write breaches and findings as SARIF")
    parser.add_argument("--manifest", type=_report, metavar="FILE", help="write the manifest, which a later check can take as its baseline")
    _add_report_options(parser)


def _add_report_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--html", type=_report, metavar="FILE", help="write the interactive report: one file that needs nothing else")
    parser.add_argument("--markdown", type=_report, metavar="FILE", help="write it for a pull request or a job's summary; - prints it")
    parser.add_argument("--json", action="store_true", help="everything in exact numbers, as JSON")
    _add_top(parser, 10, "rows of each table")
    _add_work_options(parser)


def _add_explore(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _command(
        subparsers, "explore", commands.explore, "make and try every choice for an artifact: size, start, memory, works or not"
    )
    parser.usage = "mlbundle explore [options] artifact [-- PROGRAM [ARGUMENT ...]]"
    parser.epilog = "Behind `--` stands a command to run instead of those in [tool.mlbundle.verify], with the same placeholders."
    parser.add_argument("artifact", type=Path, help="a wheel, a frozen bundle or any folder; it stays as it is")
    parser.add_argument("--repeat", type=_positive, default=3, metavar="N", help="runs of each command, whose medians count (default 3)")
    parser.add_argument("--archives", action="store_true", help="pack the result into every format there is, not only those in `archive`")
    parser.add_argument("--json", action="store_true", help="everything in exact numbers, as JSON")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write that JSON into a file, too")
    _add_work_options(parser)


def _add_measure(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _command(subparsers, "measure", commands.measure, "measure how long a command takes from start to exit, and its peak memory")
    parser.usage = "mlbundle measure [options] -- PROGRAM [ARGUMENT ...]"
    parser.add_argument(
        "command", nargs="+", metavar="PROGRAM [ARGUMENT ...]", help="what to run, in the current folder; it has to exit with 0"
    )
    parser.add_argument("--runs", type=_positive, default=5, metavar="N", help="runs that are measured (default 5)")
    parser.add_argument("--warmup", type=_count, default=1, metavar="N", help="runs before them that are not (default 1)")
    parser.add_argument("--against", metavar="PROGRAM", help="measure this program, too, with the same arguments, in turn with the first")
    parser.add_argument("--timeout", type=_seconds, default=300.0, metavar="S", help="seconds a run may take (default 300)")
    parser.add_argument("--json", action="store_true", help="the same as JSON: seconds and bytes")


def _add_trace(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _command(
        subparsers, "trace", trace_command.trace_run, "run a command, and add the files of its application that it uses to a profile"
    )
    parser.usage = "mlbundle trace [options] -- PROGRAM [ARGUMENT ...]"
    parser.add_argument(
        "command", nargs="+", metavar="PROGRAM [ARGUMENT ...]", help="what to run: a program of a one-folder bundle, or a Python"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="PROFILE", default=Path(FILE_NAME), help=f"the profile (default {FILE_NAME})")
    parser.add_argument(
        "--package", action="append", default=[], metavar="NAME", help="of a Python: this distribution counts (may be repeated)"
    )
    parser.add_argument("--allow-failure", action="store_true", help="let the run count even where the command fails")
    parser.add_argument("-q", "--quiet", action="store_true", help="say only what went wrong")


def _add_models(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _command(
        subparsers, "models", model_commands.models, "list, fetch or check models that lie outside artifacts, or prune their store"
    )
    parser.add_argument("action", choices=("list", "warm", "verify", "prune"), help="prune removes what no artifact named tells of")
    parser.add_argument(
        "subjects",
        type=Path,
        nargs="*",
        metavar="artifact",
        help="a mlbundle.models.json, a wheel, a frozen bundle or a folder that has one",
    )
    parser.set_defaults(quiet=False)


def _add_plugins(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _command(subparsers, "plugins", commands.plugins, "list the optimizers that there are, with their options")
    parser.add_argument("--json", action="store_true", help="the same as JSON")
    parser.set_defaults(quiet=False)


def _add_cache(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _command(subparsers, "cache", commands.cache, "show how much the cache holds, or empty it")
    parser.add_argument("action", nargs="?", choices=("show", "prune", "clear"), default="show", help="prune to its limit, or clear it")
    parser.add_argument("--json", action="store_true", help="the same as JSON")
    _add_config(parser)


def _command(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser], name: str, run: commands.Action, summary: str
) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    parser.set_defaults(run=run)
    return parser


def _add_top(parser: argparse.ArgumentParser, default: int, what: str) -> None:
    parser.add_argument("--top", type=_count, default=default, metavar="N", help=f"{what} (default {default})")


def _report(text: str) -> Path:
    """Return where a report goes; another name of standard output is `-`, so that nothing takes the place of the device."""
    return Path("-" if text == "/dev/stdout" else text)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of runs")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return seconds


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--project", type=Path, metavar="FOLDER", help="the project whose pyproject.toml counts (default: the nearest)")
    parser.add_argument("-q", "--quiet", action="store_true", help="say only what went wrong")


def _add_work_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-O", "--optimizer", action="append", dest="optimizers", metavar="NAME", help="run this one (may be repeated, in this order)"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="threads that work at once (default: one a core)")
    parser.add_argument("--no-cache", action="store_true", help="do everything anew")
    _add_config(parser)
