"""The tape: gradients of whatever graph the ops were called in, against PyTorch's autograd on the same graph."""

import numpy as np
import pytest
import torch
from checks import FLOOR, assert_within

from minirembert.ops import OPS, Op
from minirembert.tape import Forward, Tape

RNG = np.random.default_rng(0)
A, B, C = (RNG.standard_normal((3, 3)) for _ in range(3))
D_OUT = RNG.standard_normal((3, 3))


# Graphs: the same lines run on a Tape (`ops`) and on torch tensors (`TorchOps`).
class TorchOps:
    add = staticmethod(torch.add)
    linear = staticmethod(torch.nn.functional.linear)
    tanh = staticmethod(torch.tanh)
    mish = staticmethod(torch.nn.functional.mish)
    identity = staticmethod(lambda x: x)
    reshape = staticmethod(lambda x, shape: x.reshape(shape))
    softmax = staticmethod(lambda x: torch.softmax(x, -1))


def chain(ops, a, b, c):
    return ops.softmax(ops.tanh(ops.linear(a, b)))


def the_same_op_twice(ops, a, b, c):
    return ops.linear(ops.linear(a, b), b)


def the_same_array_twice_in_one_op(ops, a, b, c):
    return ops.add(ops.linear(a, a), ops.add(b, b))


def an_array_used_by_three(ops, a, b, c):
    return ops.add(ops.add(ops.tanh(a), ops.mish(a)), ops.linear(a, c))


def diamond(ops, a, b, c):
    top = ops.tanh(a)
    return ops.linear(ops.mish(top), ops.softmax(top))


def diamond_with_a_long_and_a_short_side(ops, a, b, c):
    top = ops.linear(a, b)
    return ops.add(top, ops.tanh(ops.linear(ops.mish(top), c)))


def an_output_nobody_uses(ops, a, b, c):
    ops.linear(ops.tanh(a), b)
    top = ops.mish(a)
    ops.softmax(top)
    return ops.linear(top, c)


def an_op_that_returns_its_argument(ops, a, b, c):
    top = ops.linear(a, b)
    return ops.add(ops.identity(top), ops.tanh(ops.identity(ops.identity(top))))


def an_op_that_returns_an_argument_of_the_whole(ops, a, b, c):
    return ops.add(ops.identity(a), ops.linear(a, ops.identity(b)))


def a_view(ops, a, b, c):
    flat = ops.reshape(a, shape=(9,))
    return ops.add(ops.reshape(flat, shape=(3, 3)), ops.tanh(a))


GRAPHS = [
    chain,
    the_same_op_twice,
    the_same_array_twice_in_one_op,
    an_array_used_by_three,
    diamond,
    diamond_with_a_long_and_a_short_side,
    an_output_nobody_uses,
    an_op_that_returns_its_argument,
    an_op_that_returns_an_argument_of_the_whole,
    a_view,
]


@pytest.mark.parametrize("graph", GRAPHS)
def test_gradients_are_pytorch_s(graph):
    arrays = {"a": A, "b": B, "c": C}
    tensors = {name: torch.tensor(array, requires_grad=True) for name, array in arrays.items()}
    graph(TorchOps, **tensors).backward(torch.tensor(D_OUT))
    tape = Tape(OPS)
    gradients = tape.gradients(graph(tape, **arrays), D_OUT, of=arrays)
    for name, tensor in tensors.items():
        expected = np.zeros_like(A) if tensor.grad is None else tensor.grad.numpy()
        allowed = FLOOR * np.finfo(np.float64).eps * (1 + np.abs(expected).max())
        assert_within(gradients[name], expected, allowed, f"d{name} of {graph.__name__}", 0)
        assert all(gradients[name] is not array for array in (*arrays.values(), D_OUT))


@pytest.mark.parametrize("graph", GRAPHS)
def test_asking_for_everything_on_the_way_changes_nothing(graph):
    """Wanted intermediate arrays get their gradients, and the others keep theirs."""
    arrays = {"a": A, "b": B, "c": C}
    tape = Tape(OPS)
    plain = tape.gradients(graph(tape, **arrays), D_OUT, of=arrays)
    tape = Tape(OPS)
    y = graph(tape, **arrays)
    everything = arrays | {f"made {i}": step.output for i, step in enumerate(tape.steps)} | {"y": y}
    gradients = tape.gradients(y, D_OUT, of=everything)
    for name, gradient in plain.items():
        assert (gradients[name] == gradient).all(), f"d{name} of {graph.__name__}"
    assert (gradients["y"] == D_OUT).all()


def test_the_gradient_of_an_array_on_the_way():
    tape = Tape(OPS)
    middle = tape.linear(A, B)
    y = tape.add(tape.tanh(middle), middle)
    gradient = tape.gradients(y, D_OUT, of={"middle": middle})["middle"]
    expected = D_OUT * (1 - np.tanh(middle) ** 2) + D_OUT
    assert_within(gradient, expected, FLOOR * np.finfo(np.float64).eps * np.abs(D_OUT).max(), "d middle", 0)


def test_a_wanted_array_that_passes_through_identity_gets_its_gradient_once():
    """`identity` makes the array it was given; counting that as a second use would double the gradient."""
    tape = Tape(OPS)
    middle = tape.linear(A, B)
    y = tape.tanh(tape.identity(middle))
    gradients = tape.gradients(y, D_OUT, of={"middle": middle, "A": A})
    expected = D_OUT * (1 - np.tanh(middle) ** 2)
    assert_within(gradients["middle"], expected, FLOOR * np.finfo(np.float64).eps, "d middle", 0)


def test_what_numpy_does_between_the_ops_is_a_constant():
    tape = Tape(OPS)
    y = tape.linear(np.exp(A), B)
    gradients = tape.gradients(y, D_OUT, of={"a": A, "b": B})
    assert not gradients["a"].any()
    assert gradients["b"].any()


def test_an_array_the_output_does_not_depend_on_gets_zeros_of_its_shape_and_dtype():
    tape = Tape(OPS)
    y = tape.tanh(A)
    gradient = tape.gradients(y, D_OUT, of={"other": np.ones((2, 5), np.float32)})["other"]
    assert gradient.shape == (2, 5)
    assert gradient.dtype == np.float32
    assert not gradient.any()


def test_two_equal_arrays_are_two_arrays():
    """The tape knows arrays by identity, not by value."""
    tape = Tape(OPS)
    twin = A.copy()
    gradients = tape.gradients(tape.tanh(A), D_OUT, of={"a": A, "twin": twin})
    assert gradients["a"].any()
    assert not gradients["twin"].any()


def test_arrays_that_the_caller_has_dropped_do_not_confuse_it():
    """Python reuses the address of a dead array: the tape must keep what it has seen alive."""
    tape = Tape(OPS)
    x = A
    for _ in range(50):
        x = tape.add(tape.tanh(x), RNG.standard_normal((3, 3)))  # the constant is gone at once
    tensor = torch.tensor(A, requires_grad=True)
    y = tensor
    for step in [s for s in tape.steps if s.op == "add"]:
        y = torch.tanh(y) + torch.tensor(step.inputs[1])
    y.backward(torch.tensor(D_OUT))
    del step
    gradient = tape.gradients(x, D_OUT, of={"a": A})["a"]
    assert_within(gradient, tensor.grad.numpy(), FLOOR * np.finfo(np.float64).eps, "da after fifty steps", 0)


def test_the_gradients_empty_the_tape_and_leave_the_inputs_alone():
    before = A.copy()
    tape = Tape(OPS)
    d_out = D_OUT.copy()
    tape.gradients(tape.add(tape.tanh(A), A), d_out, of={"a": A})
    assert not tape.steps
    assert (before == A).all()
    assert (d_out == D_OUT).all()


def test_the_gradient_is_linear_in_what_comes_back():
    def gradient(d_out):
        tape = Tape(OPS)
        return tape.gradients(diamond(tape, A, B, C), d_out, of={"a": A})["a"]

    expected = gradient(D_OUT) + 4 * gradient(A)
    eps = FLOOR * np.finfo(np.float64).eps
    assert_within(gradient(D_OUT + 4 * A), expected, eps * (1 + np.abs(expected).max()), "da", 0)


def test_an_optional_array_that_was_absent():
    tape = Tape(OPS)
    gradients = tape.gradients(tape.linear(A, B, None), D_OUT, of={"a": A, "b": B})
    assert gradients["a"].any()
    assert gradients["b"].any()


def test_an_array_passed_by_name_is_refused_rather_than_forgotten():
    tape = Tape(OPS)
    y = tape.linear(A, weight=B)
    with pytest.raises(TypeError, match="linear has a gradient for an array passed by name"):
        tape.gradients(y, D_OUT, of={"b": B})


@pytest.mark.parametrize("runner", [Forward, Tape])
def test_an_unknown_op_is_named(runner):
    with pytest.raises(AttributeError, match=r"no op named 'gelo'.*gelu"):
        runner(OPS).gelo(A)


def test_an_op_for_looking_at_is_run_but_not_recorded():
    tape = Tape({"look": Op(lambda x: (x + 1, None), None)})
    assert (tape.look(A) == A + 1).all()
    assert not tape.steps


def test_forward_keeps_nothing():
    run = Forward(OPS)
    assert (run.tanh(A) == np.tanh(A)).all()
    assert vars(run) == {"ops": OPS}
