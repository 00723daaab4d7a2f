"""Print how similar sentences are, and the hash of their embeddings."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from hatch_mlbundle.runtime import model_path

SENTENCES = ["A cat sits on the mat.", "There is a kitten on the rug.", "Stock prices fell sharply on Monday."]
MODEL = Path(__file__).parent.parent / "models/minilm"


def main() -> None:
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.disable_progress_bar()
    sentences = sys.argv[1:] or SENTENCES
    model = SentenceTransformer(str(model_path("minilm", local=MODEL)), device="cpu")
    rows = model.encode(sentences, normalize_embeddings=True, show_progress_bar=False)
    for row, sentence in zip(rows @ rows.T, sentences, strict=True):
        print(" ".join(f"{x:+.4f}" for x in row), sentence)
    print("sha256", hashlib.sha256(rows.tobytes()).hexdigest())


if __name__ == "__main__":
    main()
