"""Run by real_wheels.py: train, encode, save, load and decode with tokenizers, whose wheel carries no tests of its own."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXTS = ["The quick brown fox jumps over the lazy dog.", "Ein größeres Beispiel, mit Umlauten: äöü.", "数 字 and emoji 🙂"] * 20
KINDS = {
    "bpe": (models.BPE(unk_token="[UNK]"), trainers.BpeTrainer(vocab_size=300, special_tokens=["[UNK]"], show_progress=False)),
    "wordpiece": (
        models.WordPiece(unk_token="[UNK]"),
        trainers.WordPieceTrainer(vocab_size=300, special_tokens=["[UNK]"], show_progress=False),
    ),
    "unigram": (
        models.Unigram(),
        trainers.UnigramTrainer(vocab_size=200, unk_token="[UNK]", special_tokens=["[UNK]"], show_progress=False),
    ),
    "wordlevel": (models.WordLevel(unk_token="[UNK]"), trainers.WordLevelTrainer(special_tokens=["[UNK]"], show_progress=False)),
}

for name, (model, trainer) in KINDS.items():
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="[UNK] $A", special_tokens=[("[UNK]", 0)])
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator(TEXTS, trainer)
    again = Tokenizer.from_str(tokenizer.to_str())
    batches = [each.encode_batch(TEXTS) for each in (tokenizer, again)]
    assert [encoding.ids for encoding in batches[0]] == [encoding.ids for encoding in batches[1]]
    print(name, [len(encoding.ids) for encoding in batches[0][:3]], tokenizer.decode(batches[0][0].ids))
