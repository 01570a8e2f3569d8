"""The ways of calling a model, after the documentation's PyTorch and TensorFlow pages.

    model(input_ids, attention_mask)                        in the order of the signature
    model(input_ids=ids, attention_mask=mask)               by name
    model([input_ids, attention_mask])                      a list in the order of the signature, as first argument
    model({"input_ids": ids, "attention_mask": mask})       a dictionary, such as a tokenizer gives, as first argument

A list as first argument might be a list of inputs or simply the ids as Python lists. How deeply it is nested decides: ids
have the axes (batch, sequence), so [[4, 5], [6, 7]] is a batch of two sequences, and what is one level deeper,
[[[4, 5]], [[1, 1]]], or a list of arrays with two axes, is a list of inputs. (In transformers' TensorFlow classes the first
fails.) For multiple choice everything is one axis deeper.
"""

from collections.abc import Mapping, Sequence
from typing import Any

ENCODER = ("input_ids", "attention_mask", "token_type_ids", "position_ids", "head_mask", "inputs_embeds")
DECODER = ("encoder_hidden_states", "encoder_attention_mask")
FLAGS = ("output_attentions", "output_hidden_states", "return_dict")


def by_name(
    caller: str, arguments: Sequence[str], ids_axes: int, given: tuple[Any, ...], named: dict[str, Any]
) -> dict[str, Any]:
    """What was given in any of these ways, by name. `arguments`: the names in order; `ids_axes`: the axes of input_ids.

    Raises TypeError for a name that is not among them, for more than there are, and for what is given twice.
    """
    if given and isinstance(given[0], Mapping):
        _require_alone(caller, given, "a dictionary")
        listed = dict(given[0])
    elif given and isinstance(given[0], list | tuple) and _axes(given[0]) > ids_axes:
        _require_alone(caller, given, "a list of inputs")
        listed = _in_order(caller, arguments, given[0])
    else:
        listed = _in_order(caller, arguments, given)
    for name in listed:
        if name in named:
            raise TypeError(f"{caller}: {name} is given twice")
    inputs = {**listed, **named}
    for name in inputs:
        if name not in arguments:
            raise TypeError(f"{caller} takes no argument {name}; it takes {', '.join(arguments)}")
    return inputs


def _in_order(caller: str, arguments: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    if len(values) > len(arguments):
        raise TypeError(f"{caller} takes {len(arguments)} inputs ({', '.join(arguments)}), got {len(values)}")
    return {name: value for name, value in zip(arguments, values, strict=False) if value is not None}


def _require_alone(caller: str, given: tuple[Any, ...], what: str) -> None:
    if len(given) > 1:
        raise TypeError(f"{caller}: {what} stands for all inputs, but {len(given) - 1} more came after it")


def _axes(values: Any) -> int:
    """How many axes an array has, or lists in lists, judged by their first item that is not None."""
    if hasattr(values, "ndim"):
        return int(values.ndim)
    if not isinstance(values, list | tuple):
        return 0
    return 1 + _axes(next((value for value in values if value is not None), None))
