"""Make `digit_reader/weights.safetensors`: train a 64-256-256-10 MLP on `train.csv`, and measure it on the held-out digits.

Needs numpy (2.4.6 made the committed file); takes seconds. The seed is fixed, but another numpy or BLAS rounds
otherwise, and then the weights differ a little.

The 1797 digits were shuffled once (`random.Random(0).shuffle`): `train.csv` has the first 899, and the 898 held out are the
package's test data. Writers are in both halves, so the figure says nothing about the hand of a new writer.

Adam, cross-entropy, 40 epochs of mini-batches of 32, the learning rate falling to zero along a cosine, dropout. These were
chosen by three-fold cross-validation within `train.csv`; the held-out digits decided nothing, and the last epoch is saved.
"""

from __future__ import annotations

import json
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
SIZES = (64, 256, 256, 10)
EPOCHS, BATCH, RATE = 40, 32, 1e-3
KEEP = (1.0, 0.7, 0.5)
"""The share of each layer's inputs that a training step sees."""


def load(path: Path) -> tuple[np.ndarray, np.ndarray]:
    rows = np.loadtxt(path, delimiter=",", dtype=np.float32)
    return rows[:, :64] / 16, rows[:, 64].astype(int)


def initial(rng: np.random.Generator) -> list[np.ndarray]:
    parameters = []
    for inputs, outputs in pairwise(SIZES):
        parameters.append(rng.normal(0, np.sqrt(2 / inputs), (outputs, inputs)).astype(np.float32))
        parameters.append(np.zeros(outputs, np.float32))
    return parameters


def scores(parameters: list[np.ndarray], x: np.ndarray) -> np.ndarray:
    for layer in range(0, len(parameters), 2):
        x = x @ parameters[layer].T + parameters[layer + 1]
        if layer + 2 < len(parameters):
            x = np.maximum(x, 0)
    return x


def gradients(parameters: list[np.ndarray], x: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    inputs, masks = [], []
    for layer, keep in enumerate(KEEP):
        masks.append((rng.random(x.shape, np.float32) < keep) / np.float32(keep))
        inputs.append(x * masks[-1])
        x = inputs[-1] @ parameters[2 * layer].T + parameters[2 * layer + 1]
        if layer + 1 < len(KEEP):
            x = np.maximum(x, 0)
    chances = np.exp(x - x.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    chances[np.arange(len(labels)), labels] -= 1
    error = chances / len(labels)
    found: list[np.ndarray] = []
    for layer in reversed(range(len(KEEP))):
        found[:0] = [error.T @ inputs[layer], error.sum(axis=0)]
        error = (error @ parameters[2 * layer]) * masks[layer] * (inputs[layer] > 0)
    return found


def train(x: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    parameters = initial(rng)
    mean, square = ([np.zeros_like(each) for each in parameters] for _ in range(2))
    steps = EPOCHS * -(-len(x) // BATCH)
    step = 0
    for _ in range(EPOCHS):
        order = rng.permutation(len(x))
        for start in range(0, len(x), BATCH):
            chosen = order[start : start + BATCH]
            rate = RATE * (1 + np.cos(np.pi * step / steps)) / 2
            step += 1
            for index, gradient in enumerate(gradients(parameters, x[chosen], labels[chosen], rng)):
                mean[index] = 0.9 * mean[index] + 0.1 * gradient
                square[index] = 0.999 * square[index] + 0.001 * gradient**2
                unbiased = np.sqrt(square[index] / (1 - 0.999**step)) + 1e-8
                parameters[index] -= (rate * mean[index] / (1 - 0.9**step) / unbiased).astype(np.float32)
    return parameters


def save(path: Path, parameters: list[np.ndarray]) -> None:
    """Write the safetensors format: a length of 8 bytes, a JSON header padded to 8 bytes, then the tensors one after another."""
    header: dict[str, object] = {}
    offset = 0
    for index, tensor in enumerate(parameters):
        name = f"{index // 2}.{'bias' if index % 2 else 'weight'}"
        header[name] = {"dtype": "F32", "shape": tensor.shape, "data_offsets": [offset, offset + tensor.nbytes]}
        offset += tensor.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(tensor.astype("<f4").tobytes() for tensor in parameters))


def main() -> None:
    parameters = train(*load(HERE / "train.csv"))
    for name in ("train.csv", "digit_reader/tests/data/digits.csv"):
        x, labels = load(HERE / name)
        right = int((scores(parameters, x).argmax(axis=1) == labels).sum())
        print(f"{name}: {right} of {len(labels)} right ({100 * right / len(labels):.2f} %)")
    save(HERE / "digit_reader" / "weights.safetensors", parameters)


if __name__ == "__main__":
    main()
