"""Weights on disk: safetensors, PyTorch's pickles, Keras's h5; one file or shards.

Every format has a reader from a file to `Stored` tensors, and a writer. safetensors is read and written here, and what a
file says of itself is checked before it is believed. PyTorch's files need torch, Keras's need h5py: these libraries read them,
run no code from them and write nothing, and what they say of a damaged file becomes one sentence. `folder` finds the files
and loads a model from them, `save` writes them, `convert` does one after the other.
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
from minirembert.checkpoint.tensors import Stored

__all__ = [
    "MAX_SHARD_SIZE",
    "WEIGHTS_FILE",
    "Loaded",
    "Stored",
    "has_output_head",
    "held",
    "load_tensors",
    "load_weights",
    "read_tensors",
    "save_weights",
    "weight_files",
    "write_weights",
]
