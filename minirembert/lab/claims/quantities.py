"""The numbers that claims are made of, each a function of one run's record."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from minirembert.lab.tasks import TASKS
from minirembert.lab.world import World

Record = Mapping[str, Any]


class Quantity(NamedTuple):
    """`label` names it on an axis, with its unit. `of` takes it from a record: a number, or one for each layer (L + 1)."""

    label: str
    of: Callable[[Record], float | list[float]]
    short: str = ""  # where several stand side by side
    by_layer: bool = False


def transfer(record: Record) -> float:
    """The mean score over all tasks in the languages other than the one they were learned in, with all blocks kept."""
    return _score(record, dropped=0, elsewhere=True)


def in_language(record: Record) -> float:
    """The same in the language they were learned in."""
    return _score(record, dropped=0, elsewhere=False)


def gain_of_dropping(record: Record) -> float:
    """What transfer wins when the last block is left out before fine-tuning; negative where it loses."""
    return _score(record, dropped=1, elsewhere=True) - transfer(record)


def last_minus_middle(record: Record) -> float:
    """Sentence retrieval after the last block, minus that after block L // 2. The layer is fixed, not the best one: the best
    of several noisy numbers is always above a given one.
    """
    found = _retrieval(record)
    return found[-1] - found[len(found) // 2]


def part_of_last(record: Record) -> float:
    """Sentence retrieval after the last block, divided by the sum of that and retrieval after block L // 2: one half where
    nothing is lost. Not their plain quotient, in which a single model that has aligned nothing could outweigh all others; and
    with one sentence's worth of chance added to both, so that such a model has about one half.
    """
    found, chance = _retrieval(record), 1 / record["measured"]["retrieval"]["pool"]
    last, middle = found[-1] + chance, found[len(found) // 2] + chance
    return last / (last + middle)


def gradient_ratio(record: Record) -> float:
    """log2 of the mean gradient norm of the output side over that of the input side, in the first steps of pre-training."""
    sides = record["measured"]["side_gradients"]
    return math.log2(math.fsum(sides["output"]) / math.fsum(sides["input"]))


def rank_over_limit(record: Record) -> float:
    """The rank of a head's logits beyond H + 1, the most that a linear head with a bias of the words can have."""
    return float(record["measured"]["rank"] - (record["settings"]["hidden_size"] + 1))


def of_task(task: str, elsewhere: bool) -> Callable[[Record], float]:
    """The score of one task: in the language that it was learned in, or the mean of the others."""
    return lambda record: _score(record, 0, elsewhere, task)


def _score(record: Record, dropped: int, elsewhere: bool, only: str | None = None) -> float:
    settings, tasks = record["settings"], record["measured"].get("tasks")
    kept = str(settings["variant"]["num_hidden_layers"] - dropped)
    if tasks is None or kept not in tasks:
        raise ValueError(f"a run with seed {settings['seed']} was not fine-tuned with {kept} blocks kept")
    learned = World(**settings["world"]).language_names[0]
    asked = tasks[kept].values() if only is None else [tasks[kept][only]]
    scores = [score for task in asked for name, score in task.items() if (name != learned) == elsewhere]
    if not scores:
        raise ValueError(f"a run with seed {settings['seed']} has no language to transfer to")
    return math.fsum(scores) / len(scores)


def _retrieval(record: Record) -> list[float]:
    found: list[float] = record["measured"]["retrieval"]["with_mean"]
    return found


def _measured(*keys: str) -> Callable[[Record], Any]:
    def of(record: Record) -> Any:
        value = record["measured"]
        for key in keys:
            value = value[key]
        return value

    return of


def _mean_norm(side: str) -> Callable[[Record], float]:
    return lambda record: (
        math.fsum(record["measured"]["side_gradients"][side]) / len(record["measured"]["side_gradients"][side])
    )


def _cka_difference(record: Record) -> float:
    cka = record["measured"]["cka"]
    return float(cka["output"] - cka["input"])


ONE_TASK = "score of one task"
QUANTITIES = {
    "loss": Quantity("held-out loss (nats per masked word)", _measured("loss")),
    "accuracy": Quantity("masked words guessed right", _measured("accuracy")),
    "transfer": Quantity("transfer (mean task score, other languages)", transfer, "other languages"),
    "in_language": Quantity("mean task score, language learned in", in_language, "learned language"),
    "gain_of_dropping": Quantity("gain in transfer from dropping the last block", gain_of_dropping),
    **{
        f"{task}, learned": Quantity(f"{ONE_TASK}, language learned in", of_task(task, False), f"{task}, learned")
        for task in TASKS
    },
    **{
        f"{task}, other": Quantity(f"{ONE_TASK}, other languages", of_task(task, True), f"{task}, other")
        for task in TASKS
    },
    "retrieval": Quantity("sentences that find their translation", _retrieval, by_layer=True),
    "last_minus_middle": Quantity("retrieval, last block minus middle", last_minus_middle),
    "part_of_last": Quantity("retrieval, last block / (last + middle)", part_of_last),
    "parameters_pretraining": Quantity("parameters, pre-training", _measured("parameters", "pre-training")),
    "parameters_finetuning": Quantity("parameters, fine-tuning", _measured("parameters", "fine-tuning")),
    "cka_input": Quantity("CKA with the tied matrix", _measured("cka", "input"), "input"),
    "cka_output": Quantity("CKA with the tied matrix", _measured("cka", "output"), "output"),
    "cka_chance": Quantity("CKA with the tied matrix", _measured("cka", "chance"), "rows\nmixed"),
    "cka_output_minus_input": Quantity("CKA, output minus input", _cka_difference),
    "gradient_input": Quantity("gradient norm of the tied matrix, first steps", _mean_norm("input"), "reading"),
    "gradient_output": Quantity("gradient norm of the tied matrix, first steps", _mean_norm("output"), "scoring"),
    "gradient_ratio": Quantity("log2 of scoring / reading", gradient_ratio),
    "kl": Quantity("KL to the teacher (nats)", _measured("kl")),
    "rank_over_limit": Quantity("rank of the logits beyond H + 1", rank_over_limit),
    "rank": Quantity("rank of the logits", _measured("rank")),
    "printed": Quantity("figures printed", _measured("printed")),
    "met": Quantity("figures met", _measured("met")),
    "unexplained": Quantity("figures neither met nor explained", _measured("unexplained")),
}
