"""Print the embeddings of sentences, and how similar they are."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

MODEL = Path(__file__).with_name("model")
SENTENCES = ["A cat sits on the mat.", "There is a kitten on the rug.", "Stock prices fell sharply on Monday."]


def embed(sentences):
    """Return a row of length 1 for each sentence."""
    import numpy as np
    import onnxruntime
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    tokenizer.enable_padding()
    tokenizer.enable_truncation(256)
    batch = tokenizer.encode_batch(sentences)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    session = onnxruntime.InferenceSession(MODEL / "model.onnx", options, providers=["CPUExecutionProvider"])
    inputs = {"input_ids": [each.ids for each in batch], "attention_mask": [each.attention_mask for each in batch]}
    (rows,) = session.run(None, {name: np.array(value, np.int64) for name, value in inputs.items()})
    return rows


def main():
    sentences = sys.argv[1:] or SENTENCES
    rows = embed(sentences)
    for sentence, row in zip(sentences, rows, strict=True):
        print(" ".join(f"{x:+.4f}" for x in row[:6]), "...", sentence)
    for row in rows @ rows.T:
        print(" ".join(f"{x:+.4f}" for x in row))
    print("sha256", hashlib.sha256(rows.tobytes()).hexdigest())


if __name__ == "__main__":
    main()
