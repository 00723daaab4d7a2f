"""Run a command on the untouched artifact and see which of its files it uses."""

from __future__ import annotations

from dataclasses import dataclass

from hatch_mlbundle.trials.observation import Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """What a command did, and the paths of the bundle that it was seen to use: none where it could not be watched."""

    observation: Observation
    used: frozenset[str]
