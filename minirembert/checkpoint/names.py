"""What a tensor is called: in PyTorch's files, in older ones, and in Keras's."""

import re
from typing import NamedTuple

BASE_PREFIX = "rembert."
OBSOLETE = ("embeddings.position_ids",)  # a buffer in old checkpoints, computed nowadays
OLD_ENDINGS = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
TABLES = ("position_embeddings", "token_type_embeddings")  # Keras calls their arrays `embeddings`, not `weight`
HEADS = {"cls": "mlm___cls", "classifier": "classifier", "qa_outputs": "qa_outputs"}  # the names of Keras's layers


class KerasName(NamedTuple):
    """Where a tensor stands in tf_model.h5."""

    layer: str  # of the model: rembert, or a head
    weight: str  # without the model's name in front
    transposed: bool


def current_name(name: str) -> str:
    """The name that PyTorch's RemBERT gives to a tensor stored under `name` (LayerNorms had gamma and beta once)."""
    for old, new in OLD_ENDINGS.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def from_keras(path: str) -> tuple[str, bool]:
    """PyTorch's name for the dataset at `path` in an h5 file, and whether it has to be transposed.

    `path` is LAYER/MODEL/LAYER/...: the group of a layer, in it the full name of a weight.
    """
    name = "/".join(path.split("/")[2:]).removesuffix(":0")
    name = re.sub(r"[^/]*___([^/]*)", r"\1", name).replace("_._", ".").replace("/", ".")
    parent, _, last = name.rpartition(".")
    ending = {"kernel": "weight", "gamma": "weight", "beta": "bias", "embeddings": "weight"}.get(last, last)
    return f"{parent}.{ending}" if parent else ending, last == "kernel"


def to_keras(name: str) -> KerasName:
    """The reverse, for a name of RemBERT's with or without `rembert.`. Raises ValueError for any other."""
    bare = name.removeprefix(BASE_PREFIX)
    top = bare.split(".")[0]
    if top not in ("embeddings", "encoder", "pooler", *HEADS) or not bare.endswith((".weight", ".bias")):
        raise ValueError(f"{name} is no tensor of RemBERT, and TensorFlow's model has no place for it")
    layer = HEADS.get(top, "rembert")
    path = bare.removeprefix(f"{top}.") if top in HEADS else bare
    parent, _, last = re.sub(r"\blayer/(\d+)", r"layer_._\1", path.replace(".", "/")).rpartition("/")
    owner = parent.rpartition("/")[2]
    transposed = False
    if owner == "LayerNorm":
        last = {"weight": "gamma", "bias": "beta"}[last]
    elif owner in TABLES:
        last = "embeddings"
    elif last == "weight" and owner not in ("word_embeddings", "decoder"):
        last, transposed = "kernel", True
    return KerasName(layer, "/".join(part for part in (layer, parent, last) if part) + ":0", transposed)
