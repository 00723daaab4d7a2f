"""What `mlbundle models` does: list the store, get models ready, check them, and take out what is not needed."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

from . import model_store
from .errors import ConfigurationError, ModelStoreError
from .runtime.model_commands import verify as verify_model
from .runtime.model_commands import warm as warm_model
from .runtime.models.descriptor import Model
from .runtime.models.errors import ModelFileError
from .runtime.models.places import Home, find
from .told_models import told_models
from .units import format_size


def models(options: argparse.Namespace) -> None:
    """Carry out one of the four actions for the models that artifacts tell of, or for the store."""
    actions: dict[str, Callable[[list[tuple[Model, Home]]], None]]
    actions = {"list": _list, "warm": _warm, "verify": _verify, "prune": _prune}
    told = [each for subject in options.subjects for each in told_models(subject)]
    try:
        actions[options.action](told)
    except OSError as error:
        raise ModelStoreError(f"the store of models: {error}") from error


def _list(told: list[tuple[Model, Home]]) -> None:
    from .reports.models_outside import places_report, stored_report
    from .reports.terminal import show

    if told:
        show(places_report([(model, _place(model, home)) for model, home in told]))
    else:
        show(stored_report(model_store.stored_models(), model_store.taken()))


def _place(model: Model, home: Home) -> Path | None:
    """Return where a model is found, in an archive, too; None for nowhere."""
    try:
        found = find(model, home, [], lambda _, archive: Path(archive))
    except (ModelFileError, OSError):
        return None
    return found[1] if found else None


def _warm(told: list[tuple[Model, Home]]) -> None:
    if not told:
        raise ConfigurationError(["models warm: name the descriptor or artifact whose models are to be fetched"])
    _each(told, warm_model)


def _verify(told: list[tuple[Model, Home]]) -> None:
    if told:
        _each(told, verify_model)
        return
    damaged = list(model_store.damaged_models())
    blobs = list(model_store.damaged_blobs())
    model_store.remove_models(damaged)
    model_store.remove_blobs(blobs)
    if damaged or blobs:
        names = [f"{model.name} ({model.digest[:12]})" for model in damaged] + [path.name[:12] for path in blobs]
        raise ModelStoreError(f"damaged, and taken out of the store: {', '.join(names)}; they are fetched again when they are needed")
    _say(f"all is right in the store: {len(model_store.stored_models()):,} models, {format_size(model_store.taken())}")


def _prune(told: list[tuple[Model, Home]]) -> None:
    """Remove models that none of the artifacts tells of, where some are named, and what belongs to no model."""
    before = model_store.taken()
    kept = {model.digest for model, _ in told}
    gone = [model for model in model_store.stored_models() if told and model.digest not in kept]
    model_store.remove_models(gone)
    model_store.remove_rest()
    names = ", ".join(f"{model.name} ({model.digest[:12]})" for model in gone)
    _say(f"{format_size(before - model_store.taken())} removed{f': {names}' if names else ''}")


def _each(told: list[tuple[Model, Home]], action: Callable[[Model, Home], str]) -> None:
    """Do something with each model, and raise ModelStoreError after the last where some of it failed."""
    failures = list(_failures(told, action))
    if failures:
        raise ModelStoreError("\n".join(failures))


def _failures(told: list[tuple[Model, Home]], action: Callable[[Model, Home], str]) -> Iterator[str]:
    for model, home in told:
        try:
            _say(action(model, home))
        except (ModelFileError, OSError) as error:
            yield str(error)


def _say(line: str) -> None:
    from .reports.models_outside import line_report
    from .reports.terminal import show

    show(line_report(line))
