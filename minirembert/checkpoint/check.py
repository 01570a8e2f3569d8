"""Is what stands in a folder a RemBERT, all of it? Asked before it is passed on in another format."""

import copy
import re
from collections.abc import Mapping
from pathlib import Path

from minirembert.checkpoint.folder import choose_tensors
from minirembert.checkpoint.names import BASE_PREFIX
from minirembert.checkpoint.tensors import Stored, shown
from minirembert.config import RemBertConfig
from minirembert.files import JSON_LIMIT, no_file, read_json
from minirembert.model.encoder import encoder_shapes, pooler_shapes
from minirembert.model.tasks import RemBertForMaskedLM, RemBertForQuestionAnswering, RemBertForTokenClassification
from minirembert.tokenization.folder import (
    ADDED_TOKENS_FILE,
    CONFIG_FILE,
    LARGEST_TOKENIZER_FILE,
    SPECIAL_TOKENS_FILE,
    TOKENIZER_FILE,
    VOCAB_FILE,
)

# What stands beside the weights and goes with them.
COMPANIONS = (
    "config.json", "generation_config.json", VOCAB_FILE, TOKENIZER_FILE, CONFIG_FILE, SPECIAL_TOKENS_FILE,
    ADDED_TOKENS_FILE,
)  # fmt: skip
LAYER = re.compile(rf"(?:{re.escape(BASE_PREFIX)})?encoder\.layer\.(\d+)\.")


def check_model(folder: Path, tensors: Mapping[str, Stored]) -> None:
    """Checks what `folder` holds: `tensors`, from its weight files, by its configuration; and the tokenizer's files.

    Names may have or lack `rembert.`. Heads, pooler and cross-attention may be there or not, and so may a head of somebody's
    own. Raises FileNotFoundError for a missing config.json; ValueError for a file that is not what its name says, for a tensor
    of the wrong kind or shape, and for a part of the encoder that is missing (naming what is there instead, if anything is).
    """
    for name in COMPANIONS:
        path = folder / name
        if path.exists() or path.is_symlink():
            _check_companion(path)
    config = RemBertConfig.from_pretrained(folder)
    layers = len({match[1] for match in map(LAYER.match, tensors) if match})
    shapes = _all_shapes(config, layers, tensors)
    chosen, foreign, _ = choose_tensors(tensors, shapes, BASE_PREFIX)
    missing = []
    if layers == config.num_hidden_layers:  # otherwise the configuration may name more tensors than memory holds
        missing = [name for name in encoder_shapes(config) if name not in chosen and ".crossattention." not in name]
    if foreign and (missing or not layers):
        first = tensors[foreign[0]]
        others = f", the first of {len(foreign):,} that are none" if len(foreign) > 1 else ""
        raise ValueError(f"{first.path}: {shown(first.name)} is no tensor of RemBERT{others}")
    if layers != config.num_hidden_layers:
        raise ValueError(
            f"{folder}: config.json has num_hidden_layers = {config.num_hidden_layers:,}, but the weights have {layers:,}"
        )
    if missing:
        raise ValueError(f"{folder} lacks {len(missing)} of the encoder's tensors, the first of them {missing[0]}")


def _check_companion(path: Path) -> None:
    if not path.is_file():
        raise ValueError(no_file(path))
    if path.suffix == ".json":
        read_json(path, LARGEST_TOKENIZER_FILE if path.name == TOKENIZER_FILE else JSON_LIMIT)
        return
    from sentencepiece import SentencePieceProcessor

    try:
        SentencePieceProcessor().LoadFromSerializedProto(path.read_bytes())
    except RuntimeError:
        raise ValueError(f"{path} is not a SentencePiece model") from None


def _all_shapes(config: RemBertConfig, layers: int, tensors: Mapping[str, Stored]) -> dict[str, tuple[int, ...]]:
    """Every tensor that a RemBERT of this configuration may have, whatever its task, without `rembert.`.

    For `layers` that are there: the number in the configuration may promise more names than memory holds.
    """
    config = copy.copy(config)
    config.add_cross_attention, config.num_hidden_layers = True, layers
    heads = (RemBertForMaskedLM, RemBertForQuestionAnswering, RemBertForTokenClassification)
    shapes = encoder_shapes(config) | pooler_shapes(config)
    for head in heads:
        shapes |= head.head_shapes(config)
    if "classifier.bias" in tensors and tensors["classifier.bias"].shape == (1,):  # of multiple choice
        shapes |= {"classifier.weight": (1, config.hidden_size), "classifier.bias": (1,)}
    return shapes
