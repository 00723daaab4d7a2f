from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from hatch_mlbundle.model import Bundle, Change
from hatch_mlbundle.optimizer import Context, Optimizer, Options, option
from hatch_mlbundle.reference import OptionEntry, optimizer_entry, option_entries
from hatch_mlbundle.schema import Size


@dataclass(frozen=True, kw_only=True)
class DemoOptions(Options):
    max_size: Size = option("How large.", default=100 * 10**9)
    maybe: str | None = option("What.", default=None)
    words: tuple[str, ...] = field(default_factory=lambda: ("gr\u00fc\u00df", "b"))


class Demo(Optimizer[DemoOptions]):
    """Does nothing.

    At all.
    """

    name = "demo"
    version = "1"
    lossless = False
    options_type = DemoOptions

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        return []


def test_an_optimizer_is_told_with_the_options_of_its_own() -> None:
    entry = optimizer_entry(Demo, "mlbundle-demo", "2.5")
    assert (entry.name, entry.distribution, entry.version, entry.lossless) == ("demo", "mlbundle-demo", "2.5", False)
    assert entry.summary == "Does nothing."
    assert entry.options == (
        OptionEntry(name="max-size", type="a size", default="100 GB", doc="How large."),
        OptionEntry(name="maybe", type="a string", default=None, doc="What."),
        OptionEntry(name="words", type="list of strings", default=["gr\u00fc\u00df", "b"], doc=""),
    )


def test_a_default_is_written_as_in_toml() -> None:
    written = {entry.name: entry.written_default for entry in option_entries(DemoOptions)}
    assert written == {
        "enabled": "true",
        "include": "[]",
        "exclude": "[]",
        "timeout": "3600.0",
        "max-size": '"100 GB"',
        "maybe": "unset",
        "words": '["gr\u00fc\u00df", "b"]',
    }
