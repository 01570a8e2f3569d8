"""The files of google/rembert, small: the same names, the same oddities, special tokens under the same ids."""

import json
from pathlib import Path

import numpy as np
from models import randomised
from tokenizer_models import CONTROL, NORMAL, UNKNOWN, small_model

from minirembert import RemBertConfig, RemBertModel, RemBertTokenizer
from minirembert.checkpoint import held, write_weights

# google/rembert's config.json with smaller sizes. It has keys that nobody reads, integers where probabilities are meant, and
# neither architectures nor classifier_dropout_prob.
CONFIG = {
    "attention_probs_dropout_prob": 0, "bos_token_id": 312, "embedding_dropout_prob": 0, "embedding_size": 10,
    "eos_token_id": 313, "hidden_act": "gelu", "hidden_dropout_prob": 0, "hidden_size": 42, "initializer_range": 0.02,
    "input_embedding_size": 10, "intermediate_size": 53, "layer_norm_eps": 1e-12, "max_position_embeddings": 128,
    "model_type": "rembert", "num_attention_heads": 6, "num_hidden_layers": 3, "output_embedding_size": 26,
    "pad_token_id": 0, "tie_word_embeddings": False, "type_vocab_size": 2, "use_cache": True,
}  # fmt: skip
# Words that are one piece; what else the sentences have falls into letters. The full stop is a piece with a space, too, as the
# sentence with the answer must have as many tokens as the one with "[MASK].".
WORDS = [
    "▁.", ".", "?", "▁The", "▁river", "▁is", "▁of", "▁late", "▁early", "▁the", "▁cat", "▁old", "▁fed",
    "▁feeds", "▁by", "▁baker", "▁Who", "▁Marta", "▁sun", "▁boat", "▁They", "▁it",
]  # fmt: skip


def pieces_of_google() -> list[tuple[str, int]]:
    """The first 315 pieces, with the special ones where google/rembert has them, and some words."""
    special = {0: ("[PAD]", CONTROL), 2: ("[UNK]", UNKNOWN), 312: ("[CLS]", CONTROL), 313: ("[SEP]", CONTROL)}
    first = [special.get(i, (f"<unused_{i}>", CONTROL)) for i in range(314)] + [("[MASK]", CONTROL)]
    return first + [(word, NORMAL) for word in WORDS]


def write_small_checkpoint(folder: Path) -> None:
    """config.json, the tokenizer's files, and the weights with position_ids and without a head. They are in safetensors:
    the examples are replayed without torch, which pytorch_model.bin needs."""
    folder.mkdir(parents=True)
    (folder / "sentencepiece.model").write_bytes(small_model(pieces_of_google()))
    tokenizer = RemBertTokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({**CONFIG, "vocab_size": len(tokenizer)}), encoding="utf-8")
    model = RemBertModel(RemBertConfig.from_pretrained(folder))
    randomised(model.parameters, np.random.default_rng(0))
    positions = {"embeddings.position_ids": np.arange(model.config.max_position_embeddings)[None]}
    write_weights(held(positions | model.parameters), folder)
