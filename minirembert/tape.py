"""Reverse-mode differentiation over an op table.

    tape = Tape(OPS)
    y = tape.linear(x, weight, bias)          # runs the op, writes down what made what
    loss = tape.mse(y, target)
    gradients = tape.gradients(loss, d_loss, of={"weight": weight, "bias": bias})

The tape knows arrays only by their identity, so it is the same for NumPy arrays and torch tensors. An array that a tape
has seen must not be written to before `gradients` has been called, and NumPy expressions between the ops are invisible to
it: what is computed outside the table is a constant.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from minirembert.ops import OpTable


class Step(NamedTuple):
    """One op as the tape has recorded it."""

    op: str
    inputs: tuple[Any, ...]
    output: Any
    saved: Any


class Forward:
    """Runs ops and forgets: what they save for a backward pass is freed at once."""

    def __init__(self, ops: OpTable) -> None:
        self.ops = ops

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in self.ops:
            raise AttributeError(f"there is no op named {name!r}; the table has {', '.join(sorted(self.ops))}")
        return lambda *inputs, **settings: self.ops[name].forward(*inputs, **settings)[0]


class Tape(Forward):
    """Runs ops and records them, in order."""

    def __init__(self, ops: OpTable) -> None:
        super().__init__(ops)
        self.steps: list[Step] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in self.ops or self.ops[name].backward is None:
            return super().__getattr__(name)

        def run(*inputs: Any, **settings: Any) -> Any:
            output, saved = self.ops[name].forward(*inputs, **settings)
            # Holding the inputs keeps them alive, hence their identities unique, until the walk back.
            self.steps.append(Step(name, inputs, output, saved))
            return output

        return run

    def gradients(self, output: Any, d_output: Any, of: Mapping[str, Any]) -> dict[str, Any]:
        """The gradient of `sum(d_output * output)` with respect to each array in `of`.

        `d_output` has the shape of `output`. Empties the tape, freeing each step as it is passed. An array on which
        `output` does not depend gets zeros.
        """
        total = {id(output): d_output}
        complete: dict[int, Any] = {}
        wanted = {id(array) for array in of.values()}
        while self.steps:
            op, inputs, made, saved = self.steps.pop()
            # Everything that used `made` came later and has been passed: its gradient is complete.
            d_made = total.pop(id(made), None)
            if d_made is None:
                continue
            if id(made) in wanted:
                complete[id(made)] = d_made
            backward = self.ops[op].backward
            assert backward is not None
            gradients = backward(d_made, saved)
            if any(gradient is not None for gradient in gradients[len(inputs) :]):
                raise TypeError(f"{op} has a gradient for an array passed by name; the tape sees positional ones only")
            for array, gradient in zip(inputs, gradients, strict=False):
                if gradient is not None:
                    key = id(array)
                    total[key] = total[key] + gradient if key in total else gradient
        # What is left in `total` was made by no op, or is an argument that an op returned as it was.
        found = complete | total
        return {name: found[id(array)] if id(array) in found else array * 0 for name, array in of.items()}
