"""What an evaluator is: it runs models of one kind on samples. Any distribution may register some (hookspecs.py)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

Array: TypeAlias = Any
"""A numpy array; numpy is imported only where models are run."""

Outputs: TypeAlias = Mapping[str, Array]
"""What a model gives for one sample: arrays of numbers or truth values, by the name of the output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """The user's samples, one row each: its inputs by name.

    From an .npz file come arrays, without the axis that counts the samples; from a .jsonl file what json makes of a line, such as
    `{"text": "..."}` or `{"input_ids": [101, 7592, 102]}`. Every row has the same names.
    """

    rows: Sequence[Mapping[str, Any]]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the inputs, in the order of the file."""
        return tuple(self.rows[0]) if self.rows else ()

    def batches(self, size: int) -> Iterator[dict[str, Array]]:
        """Yield the rows in order, as arrays with a first axis for at most `size` of them; rows of other shapes begin a new batch.

        Raises ValueError for what is no number, as texts are.
        """
        import numpy as np

        batch: list[dict[str, Array]] = []
        for number, row in enumerate(self.rows, 1):
            arrays = {name: _numbers(value, name, number) for name, value in row.items()}
            if batch and (len(batch) == size or _shapes(batch[0]) != _shapes(arrays)):
                yield {name: np.stack([each[name] for each in batch]) for name in arrays}
                batch = []
            batch.append(arrays)
        if batch:
            yield {name: np.stack([each[name] for each in batch]) for name in batch[0]}


class Evaluator(ABC):
    """Runs models of one kind. Made without arguments, and again in the process of its own that `outputs` runs in.

    `version` is to be raised whenever `outputs` may give something else.
    """

    name: ClassVar[str]
    version: ClassVar[str]

    def programs(self) -> Mapping[str, str]:
        """Return the libraries whose releases decide the outputs, name to version; found without importing them."""
        return {}

    @abstractmethod
    def fits(self, model: Path) -> bool:
        """Say whether it can run the model, a file or a folder, going by names and first bytes alone: nothing heavy is imported here."""

    @abstractmethod
    def outputs(self, model: Path, samples: Samples) -> Iterable[Outputs]:
        """Yield what the model gives for each sample, one mapping a row, in their order; raises any error, whose message is shown.

        Called in a process of its own, with a time limit, from an empty folder. The same model and samples must give the same arrays.
        """


def unbatched(outputs: Outputs, count: int) -> Iterator[dict[str, Array]]:
    """Yield the outputs of each of the `count` samples of a batch; raises ValueError where an output's first axis does not count them."""
    for name, array in outputs.items():
        if array.ndim == 0 or len(array) != count:
            raise ValueError(f"output {name!r} has the shape {list(array.shape)} for {count} samples")
    for position in range(count):
        yield {name: array[position] for name, array in outputs.items()}


def _numbers(value: Any, name: str, number: int) -> Array:
    import numpy as np

    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"sample {number}: {name!r} has rows of several lengths") from error
    if array.dtype.kind not in "biuf":
        raise ValueError(f"sample {number}: {name!r} is no number")
    return array


def _shapes(arrays: Mapping[str, Array]) -> list[tuple[Any, ...]]:
    return [(array.shape, array.dtype) for array in arrays.values()]
