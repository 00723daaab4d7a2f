"""Packages and modules that options name by dotted names."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from hatch_mlbundle.model import Finding
from hatch_mlbundle.modulesets.model import is_below
from hatch_mlbundle.optimizer import Context


def report_unknown(named: Mapping[str, Collection[str]], modules: Collection[str], what: str, context: Context) -> None:
    """Report each dotted name that an option, the key of `named`, gives and that has none of `modules`: no `what` of it."""
    for key, roots in named.items():
        for root in roots:
            if not any(is_below(name, (root,)) for name in modules):
                message = f"{key!r} names {root!r}, of which there is no {what}; correct it, or take it out"
                context.report(Finding(code="MB942", message=message))
