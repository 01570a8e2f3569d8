"""
7. Backpropagation with the tape
================================

RemBERT's forward pass is a list of operations of nine kinds. Each kind knows how to go backward by itself. What is
missing is somebody who remembers in which order they ran, walks back through the list, and adds up the gradients that
arrive at the same array. That is the tape, a short file. The second half of this chapter asks how one knows that a
gradient is right, and shows a popular test that cannot tell.

Read beside it: ``minirembert/tape.py``, all of it, and ``minirembert/ops/__init__.py``.
"""

import tracemalloc

import matplotlib.pyplot as plt
import numpy as np

from minirembert import RemBertConfig, RemBertForMaskedLM
from minirembert.model.forward_pass import ForwardPass
from minirembert.ops import OPS, Op, OpTable
from minirembert.ops.layernorm import LayerNormSaved, layer_norm, layer_norm_backward
from minirembert.tape import Tape

rng = np.random.default_rng(7)

# %%
# The op table
# ------------
# An op is a pair of functions. The forward function returns its result and whatever the backward function will need
# (``saved``). The backward function takes the gradient of the result, dy, and returns the gradients of the inputs. It
# multiplies dy by the transposed Jacobian without ever writing the Jacobian down. The table gives the pairs their
# names. It is an ordinary dictionary.

print("ops:", ", ".join(OPS))
assert OPS["layer_norm"] == (layer_norm, layer_norm_backward)
assert [name for name, op in OPS.items() if op.backward is None] == ["attention_probabilities"]  # only to look at

# %%
# Three ops on a tape
# -------------------
# A tiny network: a linear map, GELU, and the mean squared distance from a target. Calling an op through the tape runs
# it and writes down one step: which op, on which arrays, with which result.

N, H, O = 4, 3, 2  # noqa: E741
x, weight, bias = rng.standard_normal((N, H)), rng.standard_normal((O, H)), rng.standard_normal(O)
target = rng.standard_normal((N, O))

tape = Tape(OPS)
a = tape.linear(x, weight, bias)
y = tape.gelu(a)
loss = tape.mse(y, target)
for step in tape.steps:
    shapes = ", ".join(str(array.shape) for array in step.inputs)
    print(f"{step.op:8} {shapes:24} -> {step.output.shape!s:8} saved: {', '.join(step.saved._fields)}")
assert [step.op for step in tape.steps] == ["linear", "gelu", "mse"]

gradients = tape.gradients(loss, np.ones(()), of={"weight": weight, "bias": bias, "x": x})

# %%
# The walk back starts with d loss / d loss = 1 and calls the three backward functions in reverse. Each result becomes
# the next one's dy. By hand it is the chain rule. The slope of GELU here comes from a difference quotient.

dy = 2 * (y - target) / y.size
gelu_slope = (Tape(OPS).gelu(a + 1e-6) - Tape(OPS).gelu(a - 1e-6)) / 2e-6
da = dy * gelu_slope
by_hand = {"weight": da.T @ x, "bias": da.sum(axis=0), "x": da @ weight}
for name, gradient in gradients.items():
    assert np.allclose(gradient, by_hand[name], atol=1e-8), name

# %%
# An array used twice
# -------------------
# In a residual connection x goes two ways: around the layer and through it. A small change of x changes the loss along
# both, so the two gradients *add*. The tape holds a total for each array, and a gradient that finds one already there
# is added to it. This is the whole difference between a chain and a graph.

W, dy = rng.standard_normal((H, H)), rng.standard_normal((N, H))
tape = Tape(OPS)
y = tape.add(x, tape.linear(x, W))
dx = tape.gradients(y, dy, of={"x": x})["x"]
assert np.allclose(dx, dy + dy @ W)  # around, and through

# %%
# One thing to beware of. The tape sees ops only. A NumPy expression in between makes a new array that nobody wrote
# down, and the walk back stops there without a word. Inside the model there are ops for everything, also for such
# small things as ``scale`` and ``reshape``.

tape = Tape(OPS)
unseen = tape.gradients(tape.linear(x, W) * 2.0, dy, of={"W": W})["W"]
tape = Tape(OPS)
seen = tape.gradients(tape.scale(tape.linear(x, W), 2.0), dy, of={"W": W})["W"]
assert (unseen == 0).all() and np.allclose(seen, 2 * dy.T @ x)

# %%
# Is it right? Differences
# ------------------------
# Move one entry of the weights by h both ways and look at the loss: (f(w + h) - f(w - h)) / 2h. The error of this
# quotient falls with h^2 at first. Then it rises, because the loss is rounded, and the rounding is divided by h. In
# float64 the best h lies between 1e-7 and 1e-3 and gives eight digits or more. In float32 there are only a few. So
# gradients are checked in float64, and nothing else about the code changes.


def loss_of(weight: np.ndarray) -> np.ndarray:
    tape = Tape(OPS)
    return tape.mse(tape.gelu(tape.linear(x.astype(weight.dtype), weight)), target.astype(weight.dtype))


tape = Tape(OPS)
loss = tape.mse(tape.gelu(tape.linear(x, weight)), target)
exact = tape.gradients(loss, np.ones(()), of={"weight": weight})["weight"][1, 2]

sizes = 10.0 ** -np.arange(1, 12, 0.5)
error: dict[str, list[float]] = {"float32": [], "float64": []}
for dtype, errors in error.items():
    for h in sizes:
        up, down = weight.astype(dtype), weight.astype(dtype)
        up[1, 2] += h
        down[1, 2] -= h
        quotient = (float(loss_of(up)) - float(loss_of(down))) / (2 * h)
        errors.append(abs(quotient / exact - 1))
assert 1e-7 < sizes[np.argmin(error["float64"])] < 1e-3
assert min(error["float64"]) < 1e-8 and 1e-7 < min(error["float32"]) < 1e-2

figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
for (dtype, errors), style in zip(error.items(), ("k--s", "k-o"), strict=True):
    axes.loglog(sizes, errors, style, markersize=4, label=dtype)
axes.set(xlabel="h", ylabel="relative error of the quotient")
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
plt.show()

# %%
# Is it right? One number for a whole op
# --------------------------------------
# One difference for each entry is slow. There is a better way. Let J be the Jacobian of an op, v a random change of all
# its inputs, and u a random gradient of its output (a *cotangent*). Then
#
# .. math:: \langle u, J v \rangle = \langle J^T u, v \rangle
#
# The left side needs two forward passes, since J v is a difference along v. The right side is one backward pass. A
# single number tests every entry at once, for an op, a block or a whole model.


def discrepancy(table: OpTable, inputs: list[np.ndarray], u: np.ndarray) -> float:
    """| <u, J v> - <J^T u, v> | of the table's layer_norm, relative to the sizes of u and v."""

    def forward(sign: float) -> np.ndarray:
        return Tape(table).layer_norm(
            *(array + sign * h * v for array, v in zip(inputs, directions, strict=True)), 1e-12
        )

    h = 1e-5
    directions = [np.random.default_rng(i).standard_normal(array.shape) for i, array in enumerate(inputs)]
    tape = Tape(table)
    y = tape.layer_norm(*inputs, 1e-12)
    by_backward = tape.gradients(y, u, of={str(i): array for i, array in enumerate(inputs)})
    left = np.vdot(u, (forward(+1) - forward(-1)) / (2 * h))
    right = sum(np.vdot(gradient, v) for gradient, v in zip(by_backward.values(), directions, strict=True))
    return abs(left - right) / (np.linalg.norm(u) * np.sqrt(sum(v.size for v in directions)))


# %%
# A test that cannot see
# ----------------------
# Many people test a gradient with ``y.sum().backward()``: u = 1 everywhere, on a fresh layer, where every LayerNorm
# weight is 1. Now remember chapter 5. The rows of xhat sum to zero, so the sum of y does not depend on x at all, and
# the right answer is dx = 0. Whatever is *multiplied* by the right answer goes unseen. Here are five wrong backward
# passes. To plant one, we put another pair into the table.


def planted(change: str) -> OpTable:
    """The op table with something wrong in layer_norm's backward pass."""

    def wrong_backward(dy: np.ndarray, saved: LayerNormSaved) -> tuple[np.ndarray, ...]:
        dx, dweight, dbias = layer_norm_backward(dy, saved)
        x, weight, mean, rstd = saved
        rstd = rstd[..., None]
        xhat = (x - mean[..., None]) * rstd
        dxhat = dy * weight
        if change == "no xhat term":
            dx = rstd * (dxhat - dxhat.mean(axis=-1, keepdims=True))
        elif change == "no mean term":
            dx = rstd * (dxhat - xhat * (dxhat * xhat).mean(axis=-1, keepdims=True))
        elif change == "weight forgotten in dx":
            dx, _, _ = layer_norm_backward(dy, saved._replace(weight=np.ones_like(weight)))
        elif change == "wrong sign of dx":
            dx = -dx
        elif change == "mean in dweight":
            dweight = (dy * x * rstd).reshape(-1, x.shape[-1]).sum(axis=0)
        return dx, dweight, dbias

    return {**OPS, "layer_norm": Op(layer_norm, wrong_backward)}


bugs = ["no xhat term", "no mean term", "weight forgotten in dx", "wrong sign of dx", "mean in dweight"]
N, H = 5, 7
x, weight, bias = 3 + rng.standard_normal((N, H)), rng.standard_normal(H), rng.standard_normal(H)
u, ones = rng.standard_normal((N, H)), np.ones(H)
tests = {
    "dy = 1, w = 1": ([x, ones, bias], np.ones((N, H))),
    "random dy, w = 1": ([x, ones, bias], u),
    "random dy and w": ([x, weight, bias], u),
}
seen_by = {test: [bug for bug in bugs if discrepancy(planted(bug), *case) > 1e-6] for test, case in tests.items()}
print(f"{'':24}" + "".join(f"{test:>18}" for test in tests))
for bug in bugs:
    print(f"{bug:24}" + "".join(f"{'seen' if bug in seen_by[test] else '-':>18}" for test in tests))
assert all(discrepancy(OPS, *case) < 1e-8 for case in tests.values())  # the right one passes everywhere
assert seen_by["dy = 1, w = 1"] == ["no mean term", "mean in dweight"]
assert seen_by["random dy, w = 1"] == [bug for bug in bugs if bug != "weight forgotten in dx"]
assert seen_by["random dy and w"] == bugs

# %%
# With dy = 1 and w = 1 the test sees two of the five: those that leave something where nothing should be. It accepts a
# gradient without the xhat term, and even one with the wrong sign. Random dy sees four, and the fifth needs random
# weights too. (The mean in ``dweight`` is seen because x has a mean of about 3. With centred x it is harder to see.)
# Hence the rule of this project's tests: random cotangents, random weights, shifted means, odd shapes.

# %%
# A whole model
# -------------
# ``loss_and_gradients`` puts a tape under the forward pass and asks for the gradient of every parameter. The same test
# works: choose one random direction in the space of *all* parameters, and move the model along it. (The list of steps
# shows the nine kinds of ops that a masked language model is made of.)

config = RemBertConfig(
    vocab_size=500, hidden_size=64, num_hidden_layers=4, num_attention_heads=4, intermediate_size=256,
    input_embedding_size=16, output_embedding_size=96, max_position_embeddings=64, bos_token_id=1, eos_token_id=3,
)  # fmt: skip
ids = rng.integers(5, 500, (2, 12))
batch = {"input_ids": ids, "labels": np.where(rng.random(ids.shape) < 0.3, ids, -100)}

tape = Tape(OPS)
RemBertForMaskedLM(config).run_forward(ForwardPass(tape, config), for_loss_only=True, **batch)
print(len(tape.steps), "steps:", ", ".join(sorted({step.op for step in tape.steps})))
assert len({step.op for step in tape.steps}) == 9


def model_discrepancy(ops: OpTable) -> float:
    """Backward pass against differences along one random direction, relative."""
    model = RemBertForMaskedLM(config, dtype="float64", seed=7)
    model.ops = ops
    rng = np.random.default_rng(0)
    for array in model.parameters.values():
        array += 0.3 * rng.standard_normal(array.shape)  # away from zero biases and unit weights
    directions = {name: rng.standard_normal(array.shape) for name, array in model.parameters.items()}
    _, gradients = model.loss_and_gradients(**batch)
    slope = sum(np.vdot(gradients[name], v) for name, v in directions.items())
    h, losses = 1e-6, []
    for move in (h, -2 * h):  # to +h, then from there to -h
        for name, v in directions.items():
            model.parameters[name] += move * v
        losses.append(model.loss(**batch))
    return abs((losses[0] - losses[1]) / (2 * h) - slope) / abs(slope)


right, wrong = model_discrepancy(OPS), model_discrepancy(planted("no xhat term"))
print(f"whole model, relative: {right:.0e}; with the planted bug {wrong:.0e}")
assert right < 1e-6 and wrong > 1e-3

# %%
# Memory
# ------
# A backward pass needs what the forward pass saved, so during training every block's intermediate results wait in
# memory. (Outside training ``Forward`` takes the tape's place and keeps nothing.) The walk back takes each step *off*
# the tape before it goes on, and with the step go its arrays. So memory rises to the end of the forward pass and falls
# from there on, while the gradients of the parameters fill up. We watch it by wrapping every function in the table.


def watched(log: list[float]) -> OpTable:
    """The op table, noting the memory in use, in MB, whenever an op has run."""

    def note(function):
        def run(*arguments, **settings):
            result = function(*arguments, **settings)
            log.append(tracemalloc.get_traced_memory()[0] / 1e6)
            return result

        return run

    return {name: Op(note(op.forward), note(op.backward) if op.backward else None) for name, op in OPS.items()}


model = RemBertForMaskedLM(config, seed=7)
ids = rng.integers(5, 500, (16, 64))
batch = {"input_ids": ids, "labels": np.where(rng.random(ids.shape) < 0.15, ids, -100)}

memory: dict[str, np.ndarray] = {}
for kind, work in (("Forward", model.loss), ("Tape", model.loss_and_gradients)):
    log: list[float] = []
    model.ops = watched(log)
    tracemalloc.start()
    result = work(**batch)
    tracemalloc.stop()
    memory[kind] = np.array(log)
gradient_bytes = sum(gradient.nbytes for gradient in result[1].values()) / 1e6

forward_ops = len(memory["Forward"])
backward = memory["Tape"][forward_ops:]
print(f"{forward_ops} ops forward and {len(backward)} backward; peak {memory['Tape'].max():.1f} MB with the tape,")
print(
    f"{memory['Forward'].max():.1f} MB without; {backward[-1]:.1f} MB at the end, {gradient_bytes:.1f} MB of gradients"
)
assert len(backward) == forward_ops
assert 0.7 < memory["Tape"].argmax() / forward_ops < 1.3  # the peak is where the walk turns around
assert memory["Tape"].max() > 5 * memory["Forward"].max() and backward[-1] < 0.2 * memory["Tape"].max()

figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
axes.plot(memory["Tape"], "k-", label="Tape: forward, then backward")
axes.plot(memory["Forward"], "k:", label="Forward: nothing kept")
axes.axvline(forward_ops - 0.5, color="0.75", linewidth=1)
axes.text(forward_ops + 1, 2.2, "the walk back begins", color="0.4")
axes.axhline(gradient_bytes, color="0.6", linestyle="--", linewidth=1, label="size of all gradients")
axes.set(xlabel="ops that have run", ylabel="memory in use (MB)", ylim=(0, None))
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False, loc="upper left")
plt.show()

# %%
# Exercises
# ---------
# 1. Add two ops to a copy of the table, ``square`` and ``mean`` (of all entries), and build ``mse`` from them with
#    ``add`` and ``scale``. Test both with a random cotangent. *Hint: a pair of functions and a NamedTuple for*
#    ``saved``.
# 2. In the table above dy = 1, w = 1 saw "mean in dweight". Make x centred and of odd shape, and see which tests still
#    do. *Hint: on centred rows what differs between x rstd and xhat?*
# 3. The tape keeps every block's intermediate results. One could keep only each block's input and run its forward pass
#    again during the walk back (checkpointing). Estimate from the figure how much memory is left, and what it costs in
#    time. *Hint: how many ops does one block have?*
#
# Next: ``08_pretraining.py``, and ``minirembert/training/loop.py`` beside it.
