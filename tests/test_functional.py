"""The kernels as PyTorch functions: what torch and its users ask of anything that calls itself differentiable.

They run where kernels run: on a GPU, or without one in Triton's interpreter, which takes a millisecond for each program, so
the shapes are tiny. What an op computes is the business of the properties in test_op_*.py.
"""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from checks import DISTURBANCES, FLOOR, MULTIPLE, assert_right, assert_within, parameter_names, truth
from impls import TRITON
from strategies import Case, in_float32
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from kernels import functional as K
from kernels._launch import DEVICE, to_tensor

# --- calls ----------------------------------------------------------------------------------------------------------

ATTENTION = {"num_heads": 2, "bias": None, "key_lengths": None, "causal": False, "drop_prob": 0.0, "seed": 0}
PACKED = {"num_heads": 2, "cu_seqlens": np.array([0, 2, 2, 5]), "causal": False, "drop_prob": 0.0, "seed": 0}
DROPPED = {"drop_prob": 0.4, "seed": 11}


def normal(seed: int, *shape: int) -> np.ndarray:
    return in_float32(np.asarray(np.random.default_rng(seed).standard_normal(shape)))


def call(op: str, *shapes: tuple[int, ...], **settings: object) -> Case:
    """Arrays with a mean away from zero, and a seed for everything else."""
    return Case(op, tuple(np.asarray(normal(i, *shape) + 0.5) for i, shape in enumerate(shapes)), settings, seed=5)


def attention(S: int, T: int, d: int, B: int = 1, **settings: object) -> Case:
    return call("attention", (B, S, 2 * d), (B, T, 2 * d), (B, T, 2 * d), **(ATTENTION | settings))


def packed(d: int, **settings: object) -> Case:
    return call("attention_packed", (5, 2 * d), (5, 2 * d), (5, 2 * d), **(PACKED | settings))


CALLS = {
    "softmax": call("softmax", (2, 3)),
    "softmax of one row": call("softmax", (5,)),
    "softmax of one column": call("softmax", (3, 1)),
    "layer_norm": call("layer_norm", (3, 5), (5,), (5,), eps=1e-5),
    "layer_norm of a batch": call("layer_norm", (2, 1, 3), (3,), (3,), eps=0.1),
    "residual_layer_norm": call("residual_layer_norm", (3, 5), (3, 5), (5,), (5,), eps=1e-5),
    "attention": attention(S=3, T=2, d=1),
    "attention, key_lengths": attention(S=2, T=3, d=3, B=2, key_lengths=np.array([2, 3])),
    "attention, causal": attention(S=3, T=3, d=2, causal=True),
    "attention, causal, last queries": attention(S=2, T=4, d=2, causal=True),
    "attention, bias": attention(S=3, T=3, d=2, bias=normal(9, 1, 2, 3, 3)),
    "attention, bias for all queries": attention(S=2, T=3, d=2, bias=normal(9, 1, 1, 1, 3)),
    "attention, boolean bias": attention(S=2, T=3, d=2, bias=np.array([[True, False, True], [False, True, True]])),
    "attention, dropout": attention(S=3, T=3, d=2, **DROPPED),
    "attention, everything": attention(
        S=3, T=3, d=1, B=2, bias=normal(9, 2, 1, 1, 3), key_lengths=np.array([2, 3]), causal=True, **DROPPED
    ),
    "attention_packed": packed(d=1),
    "attention_packed, causal, dropout": packed(d=3, causal=True, **DROPPED),
    "gelu": call("gelu", (2, 3)),
    "gelu of a number": call("gelu", ()),
    "bias_gelu": call("bias_gelu", (2, 3), (3,)),
    "dropout": call("dropout", (3, 5), **DROPPED),
}
every_call = pytest.mark.parametrize("case", CALLS.values(), ids=CALLS.keys())


def tensors(case: Case, dtype: str = "float64") -> list[Tensor]:
    """The differentiable arguments in their layouts, stride 0 included, requiring gradients."""
    return [TRITON.to_device(array).requires_grad_() for array in case.at(dtype)[0]]


def run(case: Case, arrays: list[Tensor]) -> Tensor:
    """The function on the arrays, with the masks as NumPy arrays in the precision of the first."""
    settings = case.at(str(arrays[0].dtype).removeprefix("torch."))[1]
    return getattr(K, case.op)(*arrays, **settings)


def cotangent(case: Case, y: Tensor) -> Tensor:
    return TRITON.to_device(case.cotangent(tuple(y.shape), str(y.dtype).removeprefix("torch.")))


def same_bits(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


# --- derivatives ----------------------------------------------------------------------------------------------------


@every_call
def test_torch_finds_the_gradients_right(case):
    """gradcheck moves each argument along a random direction and looks where y goes; and it asks for the same bits twice."""
    assert torch.autograd.gradcheck(lambda *arrays: run(case, list(arrays)), tensors(case), fast_mode=True)


LAYOUTS = ("plain", "permuted", "sliced", "repeated along the first axis", "repeated along the last axis")


@every_call
@pytest.mark.parametrize("layout", LAYOUTS)
def test_value_and_gradients_in_every_layout(case, layout):
    """Against the oracle, arguments and dy lying in memory in any way; `repeated` is what expand() and sum() give."""
    case = replace(case, layouts=(layout,) * (len(case.arrays) + 1), cache={})
    arrays = tensors(case, "float32")
    y = run(case, arrays)
    gradients = torch.autograd.grad(y, arrays, cotangent(case, y))
    right = truth(case, "float32")
    assert_right(y.detach().cpu().numpy(), right.y, "float32", "y", case)
    for name, gradient, answer in zip(parameter_names(case.op), gradients, right.gradients, strict=False):
        assert_right(gradient.cpu().numpy(), answer, "float32", f"d{name}", case)


@every_call
def test_one_argument_may_need_a_gradient_and_another_none(case):
    arrays = tensors(case)
    y = run(case, arrays)
    dy = cotangent(case, y)
    all_gradients = torch.autograd.grad(y, arrays, dy)
    for i in range(len(arrays)):
        some = [array.detach().requires_grad_(j == i) for j, array in enumerate(arrays)]
        run(case, some).backward(dy)
        assert torch.equal(some[i].grad, all_gradients[i])
        assert all(array.grad is None for j, array in enumerate(some) if j != i)


@every_call
def test_without_gradients_the_values_are_the_same(case):
    arrays = tensors(case)
    y = run(case, arrays)
    with torch.no_grad():
        unrecorded = run(case, arrays)
    constant = run(case, [array.detach() for array in arrays])
    assert y.requires_grad and not unrecorded.requires_grad and not constant.requires_grad
    assert same_bits((unrecorded, constant), (y.detach(), y.detach()))


@every_call
def test_a_second_backward_pass_gives_the_same_and_a_second_use_adds_to_it(case):
    arrays = tensors(case)
    y = run(case, arrays)
    dy = cotangent(case, y)
    once = torch.autograd.grad(y, arrays, dy, retain_graph=True)
    again = torch.autograd.grad(y, arrays, dy)
    assert same_bits(again, once)
    used_twice = torch.autograd.grad((run(case, arrays), run(case, arrays)), arrays, (dy, dy))
    assert same_bits(used_twice, tuple(2 * gradient for gradient in once))


def test_one_tensor_as_two_arguments_gets_both_gradients():
    case = CALLS["residual_layer_norm"]
    x, _, weight, bias = tensors(case)
    y = K.residual_layer_norm(x, x.detach(), weight, bias, eps=1e-5)
    dy = cotangent(case, y)
    (alone,) = torch.autograd.grad(y, x, dy)
    (both,) = torch.autograd.grad(K.residual_layer_norm(x, x, weight, bias, eps=1e-5), x, dy)
    assert torch.equal(both, 2 * alone)


@every_call
def test_a_second_derivative_is_refused(case):
    """Rather than taken for zero."""
    arrays = tensors(case)
    y = run(case, arrays)
    with pytest.raises(RuntimeError, match=f"{case.op} has no second derivative"):
        torch.autograd.grad(y, arrays, cotangent(case, y), create_graph=True)


def test_an_argument_written_to_before_the_backward_pass_is_noticed():
    x = tensors(CALLS["gelu"])[0]
    y = K.gelu(x)
    with torch.no_grad():
        x += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward(torch.randn_like(y))


def test_an_output_written_to_before_the_backward_pass_is_noticed():
    y = K.softmax(tensors(CALLS["softmax"])[0])
    y *= 2
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward(torch.randn_like(y))


def test_checkpointing_drops_the_same_elements_again():
    case = CALLS["dropout"]
    (x,) = tensors(case)
    twice = lambda x: K.dropout(K.gelu(x), **DROPPED)  # noqa: E731
    dy = cotangent(case, x)
    plain = torch.autograd.grad(twice(x), x, dy)
    recomputed = torch.autograd.grad(checkpoint(twice, x, use_reentrant=False), x, dy)
    assert same_bits(recomputed, plain)


# --- arguments ------------------------------------------------------------------------------------------------------


@every_call
def test_numpy_arrays_are_sent_to_the_op_table(case):
    arrays, settings = case.at("float64")
    for i in range(len(arrays)):
        mixed = [array if j == i else to_tensor(array) for j, array in enumerate(arrays)]
        with pytest.raises(TypeError, match=rf"{case.op} .* torch tensors, got ndarray; .*OPS\['{case.op}'\]"):
            getattr(K, case.op)(*mixed, **settings)


@pytest.mark.parametrize("name", [name for name in CALLS if CALLS[name].op.startswith("attention")])
def test_masks_may_be_tensors_or_numpy_arrays(name):
    case = CALLS[name]
    arrays, settings = tensors(case), case.at("float64")[1]
    as_tensors = {name: to_tensor(value) for name, value in settings.items()}
    assert torch.equal(getattr(K, case.op)(*arrays, **as_tensors), run(case, arrays))


def test_a_gradient_for_a_mask_is_refused():
    """A learned bias would stay as it is, and nobody would know."""
    q, k, v = tensors(CALLS["attention, bias"])
    bias = torch.zeros(3, 3, dtype=q.dtype, device=DEVICE, requires_grad=True)
    with pytest.raises(ValueError, match="attention has no gradient for bias"):
        K.attention(q, k, v, 2, bias)
    with torch.no_grad():
        assert torch.equal(K.attention(q, k, v, 2, bias), K.attention(q, k, v, 2, bias.detach()))


def test_autocast_leaves_the_data_in_its_dtype_and_the_parameters_in_theirs():
    project = nn.Linear(3, 6, device=DEVICE)
    x, residual, weight, bias = (
        to_tensor(normal(i, *shape).astype("float32")).requires_grad_()
        for i, shape in enumerate([(2, 3), (2, 6), (6,), (6,)])
    )
    with torch.autocast(DEVICE.type, torch.bfloat16):
        half = project(x)
        heads = half[None]
        outputs = [
            K.softmax(half), K.layer_norm(half, weight, bias, 1e-5), K.residual_layer_norm(half, half, weight, bias, 1e-5),
            K.attention(heads, heads, heads, 2), K.gelu(half), K.bias_gelu(half, bias), K.dropout(half, 0.5, 1),
        ]  # fmt: skip
        widest = K.residual_layer_norm(half, residual, weight, bias, 1e-5)
    assert half.dtype == torch.bfloat16 and widest.dtype == torch.float32
    for y in outputs:
        assert y.dtype == torch.bfloat16
    for y in (*outputs, widest):
        for parameter, gradient in zip(
            (x, residual, weight, bias),
            torch.autograd.grad(
                y.float().square().sum(), (x, residual, weight, bias), retain_graph=True, allow_unused=True
            ),
            strict=True,
        ):
            assert gradient is None or (gradient.dtype == parameter.dtype and gradient.isfinite().all())


# --- in a model -----------------------------------------------------------------------------------------------------

WIDTH, HEADS = 6, 2


def torch_attention(q: Tensor, k: Tensor, v: Tensor, num_heads: int, *, key_lengths: Tensor) -> Tensor:
    q, k, v = (x.unflatten(-1, (num_heads, -1)).transpose(1, 2) for x in (q, k, v))
    mask = (torch.arange(k.shape[2], device=k.device) < key_lengths[:, None])[:, None, None]
    return F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(-2)


TORCH = SimpleNamespace(
    attention=torch_attention,
    residual_layer_norm=lambda x, residual, weight, bias, eps: F.layer_norm(
        x + residual, weight.shape, weight, bias, eps
    ),
    bias_gelu=lambda x, bias: F.gelu(x + bias),
)


class Block(nn.Module):
    """A layer of a transformer, over torch's functions or over ours."""

    def __init__(self, functions: SimpleNamespace) -> None:
        super().__init__()
        self.functions = functions
        self.q, self.k, self.v = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.up, self.down = nn.Linear(WIDTH, 2 * WIDTH, bias=False), nn.Linear(2 * WIDTH, WIDTH)
        self.up_bias = nn.Parameter(torch.zeros(2 * WIDTH))
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor, key_lengths: Tensor) -> Tensor:
        f, first, second = self.functions, self.norm1, self.norm2
        y = f.attention(self.q(x), self.k(x), self.v(x), HEADS, key_lengths=key_lengths)
        x = f.residual_layer_norm(y, x, first.weight, first.bias, first.eps)
        y = self.down(f.bias_gelu(self.up(x), self.up_bias))
        return f.residual_layer_norm(y, x, second.weight, second.bias, second.eps)


def losses_of_training(functions: SimpleNamespace, dtype: torch.dtype, disturbed: int = 0) -> np.ndarray:
    """Before each of three steps and after the last. `disturbed`: so many times, weights are moved by one last place."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        block = Block(functions).to(DEVICE, dtype)
        x, target = torch.randn(2, 2, 5, WIDTH).to(DEVICE, dtype)
        for parameter in list(block.parameters()) * disturbed:
            up_or_down = (torch.randint(2, parameter.shape) * 2 - 1).to(parameter)
            parameter.data *= 1 + torch.finfo(dtype).eps * up_or_down
    optimizer = torch.optim.SGD(block.parameters(), lr=0.2)
    losses = []
    for _ in range(4):
        loss = F.mse_loss(block(x, torch.tensor([5, 3], device=DEVICE)), target)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return np.array(losses)


def test_a_model_learns_the_same_on_our_functions_as_on_those_of_torch():
    """Three steps: a wrong gradient shows in the second loss. What is allowed is worked out as in `checks.py`."""
    exact = losses_of_training(TORCH, torch.float64)
    assert (np.diff(exact) < 0).all(), "it does not learn"
    baselines = [losses_of_training(TORCH, torch.float32, disturbed) for disturbed in range(1 + DISTURBANCES)]
    error = max(np.abs(baseline - exact).max() for baseline in baselines)
    allowed = MULTIPLE * error + FLOOR * np.finfo("float32").eps * exact
    assert_within(losses_of_training(K, torch.float32), exact, allowed, "losses", 0)


# --- masks that are written to between the passes -----------------------------------------------------------------------

MASKED = ("attention, bias", "attention, boolean bias", "attention, key_lengths", "attention_packed, causal, dropout")


def mask_of(case: Case) -> tuple[str, np.ndarray, np.ndarray]:
    """The name of the case's mask, the mask, and other numbers that would be right as well."""
    settings = case.at("float64")[1]
    name = next(n for n in ("bias", "key_lengths", "cu_seqlens") if isinstance(settings.get(n), np.ndarray))
    mask = settings[name].copy()
    if name == "bias":
        return name, mask, np.roll(mask, 1, axis=-1)
    return name, mask, np.array([1, 1]) if name == "key_lengths" else np.array([0, 1, 4, 5])


@pytest.mark.parametrize("name", MASKED)
@pytest.mark.parametrize("repeated", [False, True], ids=["", "repeated"])
def test_a_numpy_mask_that_is_refilled_changes_no_gradient(name, repeated):
    case = CALLS[name]
    arrays, settings = tensors(case), case.at("float64")[1]
    setting, mask, other = mask_of(case)
    lent = np.broadcast_to(mask, (3, *mask.shape))[0] if repeated else mask
    if repeated and setting == "bias":
        lent = np.broadcast_to(mask[..., :1, :], mask.shape)
        other = np.broadcast_to(other[..., :1, :], mask.shape)
    expected = getattr(K, case.op)(*arrays, **settings | {setting: lent.copy()})
    dy = cotangent(case, expected)
    y = getattr(K, case.op)(*arrays, **settings | {setting: lent})
    mask[...] = other
    assert same_bits(torch.autograd.grad(y, arrays, dy), torch.autograd.grad(expected, arrays, dy))
    changed = getattr(K, case.op)(*arrays, **settings | {setting: lent})
    assert not torch.equal(changed, y), "the other mask says the same"


@pytest.mark.parametrize("name", MASKED)
def test_a_mask_of_torch_that_is_written_to_is_noticed(name):
    case = CALLS[name]
    arrays, settings = tensors(case), case.at("float64")[1]
    setting, mask, other = mask_of(case)
    lent = to_tensor(mask)
    y = getattr(K, case.op)(*arrays, **settings | {setting: lent})
    lent.copy_(torch.from_numpy(other))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward(cotangent(case, y))


def test_lengths_in_a_list_that_changes():
    case = CALLS["attention, key_lengths"]
    arrays, lengths = tensors(case), [2, 3]
    settings = case.at("float64")[1]
    y = K.attention(*arrays, **settings | {"key_lengths": lengths})
    lengths[:] = [1, 1]
    expected = run(case, arrays)
    dy = cotangent(case, y)
    assert same_bits(torch.autograd.grad(y, arrays, dy), torch.autograd.grad(expected, arrays, dy))


# --- what torch does with functions -------------------------------------------------------------------------------------


@every_call
def test_compiled_in_one_graph_it_is_the_same(case):
    torch._dynamo.reset()
    arrays, settings = tensors(case), case.at("float64")[1]
    compiled = torch.compile(
        lambda *arrays: getattr(K, case.op)(*arrays, **settings), backend="aot_eager", fullgraph=True
    )
    y, expected = compiled(*arrays), run(case, arrays)
    dy = cotangent(case, y)
    assert torch.equal(y, expected) and y.stride() == expected.stride()
    assert same_bits(torch.autograd.grad(y, arrays, dy), torch.autograd.grad(expected, arrays, dy))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_model_follows_lengths_and_seeds(backend):
    """In one graph; compiled anew at most once for another length of the sequences and once for another seed."""
    torch._dynamo.reset()
    block = Block(K).to(DEVICE)
    graphs = []

    def model(x: Tensor, key_lengths: Tensor, seed: int) -> Tensor:
        return K.dropout(block(x, key_lengths), 0.5, seed)

    def counting(graph, inputs):
        graphs.append(graph)
        return torch._dynamo.lookup_backend(backend)(graph, inputs)

    compiled = torch.compile(model, backend=counting, fullgraph=True)
    parameters = list(block.parameters())
    for seed, length in enumerate([5, 4, 3, 4, 5, 2]):
        x = torch.from_numpy(normal(seed, 2, length, WIDTH).astype("float32")).to(DEVICE)
        lengths = torch.tensor([length, 2])
        y, expected = compiled(x, lengths, seed + 10), model(x, lengths, seed + 10)
        assert torch.equal(y, expected)
        for gradient, right in zip(
            torch.autograd.grad(y.square().sum(), parameters),
            torch.autograd.grad(expected.square().sum(), parameters),
            strict=True,
        ):
            assert torch.equal(gradient, right)
    assert len(graphs) <= 3


def test_a_mask_refilled_between_the_passes_of_a_compiled_function():
    torch._dynamo.reset()
    case = CALLS["attention, bias"]
    arrays, settings = tensors(case), case.at("float64")[1]
    mask = settings.pop("bias").copy()
    settings = {name: value for name, value in settings.items() if value is not None}
    compiled = torch.compile(lambda bias, *a: K.attention(*a, bias=bias, **settings), backend="eager", fullgraph=True)
    y, expected = compiled(mask, *arrays), run(case, arrays)
    mask[...] = 0
    dy = cotangent(case, y)
    assert same_bits(torch.autograd.grad(y, arrays, dy), torch.autograd.grad(expected, arrays, dy))


@pytest.mark.parametrize("seed", [-1, -(2**63), 2**63, 2**64 - 1])
def test_a_compiled_function_takes_every_seed(seed):
    torch._dynamo.reset()
    (x,) = tensors(CALLS["dropout"])
    compiled = torch.compile(lambda x: K.dropout(x, 0.5, seed), backend="eager", fullgraph=True)
    assert torch.equal(compiled(x), K.dropout(x, 0.5, seed))


TRANSFORMS = {
    "grad": lambda f, x: torch.func.grad(lambda x: f(x).sum())(x),
    "vjp": lambda f, x: torch.func.vjp(f, x),
    "jvp": lambda f, x: torch.func.jvp(f, (x,), (x,)),
    "jacrev": lambda f, x: torch.func.jacrev(f)(x),
    "vmap": lambda f, x: torch.func.vmap(f)(x),
}


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_transforms_of_torch_func_are_refused_in_one_sentence(transform):
    x = tensors(CALLS["gelu"])[0].detach()
    with pytest.raises(NotImplementedError, match=r"gelu is no function that torch\.func can transform"):
        TRANSFORMS[transform](K.gelu, x)


def test_a_module_may_be_called_with_other_parameters():
    block = Block(K).to(DEVICE)
    x, lengths = torch.from_numpy(normal(0, 2, 5, WIDTH).astype("float32")).to(DEVICE), torch.tensor([5, 3])
    halved = {name: parameter.detach() / 2 for name, parameter in block.named_parameters()}
    y = torch.func.functional_call(block, halved, (x, lengths))
    with torch.no_grad():
        for parameter in block.parameters():
            parameter /= 2
    assert torch.equal(y, block(x, lengths))


@every_call
@pytest.mark.parametrize("use_reentrant", [False, True])
def test_checkpointing_gives_the_same_gradients(case, use_reentrant):
    arrays = tensors(case)
    plain = run(case, arrays)
    dy = cotangent(case, plain)
    y = checkpoint(lambda *arrays: run(case, list(arrays)), *arrays, use_reentrant=use_reentrant)
    y.backward(dy)
    assert same_bits(tuple(array.grad for array in arrays), torch.autograd.grad(plain, arrays, dy))
