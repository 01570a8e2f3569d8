"""Attention over several heads, in Triton: the twin of `minirembert/ops/attention.py`, which has the formulas."""

from kernels.attention.launch import (
    attention,
    attention_backward,
    attention_packed,
    attention_packed_backward,
    attention_probabilities,
)

__all__ = [
    "attention",
    "attention_backward",
    "attention_packed",
    "attention_packed_backward",
    "attention_probabilities",
]
