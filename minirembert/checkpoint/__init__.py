"""Weights on disk: safetensors, PyTorch's pickles, Keras's h5; one file or shards; read without any of these libraries.

Every format has a reader from a file to `StoredTensor`s, which checks what the file says of itself, and a writer. `folder`
finds the files and loads a model from them, `save` writes them, `convert` does one after the other.
"""

from minirembert.checkpoint.folder import (
    WEIGHTS_FILE,
    Loaded,
    has_output_head,
    load_tensors,
    load_weights,
    read_tensors,
    weight_files,
)
from minirembert.checkpoint.save import MAX_SHARD_SIZE, held, save_weights, write_weights
from minirembert.checkpoint.tensors import StoredTensor

__all__ = [
    "MAX_SHARD_SIZE",
    "WEIGHTS_FILE",
    "Loaded",
    "StoredTensor",
    "has_output_head",
    "held",
    "load_tensors",
    "load_weights",
    "read_tensors",
    "save_weights",
    "weight_files",
    "write_weights",
]
