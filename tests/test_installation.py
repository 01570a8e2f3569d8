"""Living with others: PyPI has another package called `kernels`, and transformers looks for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOFTMAX = """
import numpy as np
from kernels.softmax import softmax

x = np.random.default_rng(0).standard_normal((5, 33))
e = np.exp(x)
np.testing.assert_allclose(softmax(x)[0], e / e.sum(-1, keepdims=True), rtol=8 * np.finfo(x.dtype).eps)
"""

TRANSFORMERS = """
import torch
from transformers import RemBertConfig, RemBertModel

torch.manual_seed(0)
sizes = dict(hidden_size=32, num_attention_heads=2, num_hidden_layers=1, intermediate_size=64)
model = RemBertModel(RemBertConfig(vocab_size=50, input_embedding_size=16, **sizes)).eval()
hidden = model(torch.arange(12).reshape(2, 6)).last_hidden_state
assert hidden.shape == (2, 6, 32) and hidden.isfinite().all()
"""


@pytest.mark.parametrize(
    "program", [SOFTMAX + TRANSFORMERS, TRANSFORMERS + SOFTMAX], ids=["kernels first", "kernels last"]
)
def test_our_kernels_and_transformers_work_in_one_process(program: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    environment.pop("TRITON_INTERPRET", None)  # which kernels/_launch.py has set for the tests
    call = [sys.executable, "-W", "error::RuntimeWarning", "-c", program]
    done = subprocess.run(call, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
