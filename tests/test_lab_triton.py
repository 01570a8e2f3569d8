"""The lab's models on Triton against NumPy: tied and untied, each head; what the paper profile trains on a GPU."""

import numpy as np
import pytest
from checks import PARITY_GRADIENTS, PARITY_OUTPUTS
from test_lab_model import KINDS, batch, scrambled, sizes

from minirembert.lab.model import LabModel


@pytest.mark.parametrize(("head", "tied"), KINDS)
def test_a_lab_model_gives_the_same_loss_and_gradients(head, tied):
    model = scrambled(LabModel(sizes(head, tied), dtype="float64"))
    twin = LabModel(sizes(head, tied), dtype="float64", backend="triton")
    twin.parameters = {name: twin.backend.array(array.copy()) for name, array in model.parameters.items()}
    loss, expected = model.loss_and_gradients(**batch())
    twin_loss, gradients = twin.loss_and_gradients(**batch())
    assert abs(twin_loss - loss) <= PARITY_OUTPUTS * loss
    assert gradients.keys() == expected.keys()
    largest = max(np.abs(gradient).max() for gradient in expected.values())
    for name, gradient in gradients.items():
        worst = np.abs(twin.backend.numpy(gradient) - expected[name]).max()
        assert worst <= PARITY_GRADIENTS * largest, name
