"""What a job is: settings from which a run follows, and what the run gives back."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Protocol

from minirembert.ops.array import Array


class Result(dict[str, Any]):
    """What a run measured, ready for JSON; `arrays` is kept beside it."""

    arrays: dict[str, Array]

    def __init__(self, measured: Mapping[str, Any], arrays: Mapping[str, Array] | None = None) -> None:
        super().__init__(measured)
        self.arrays = dict(arrays or {})


@dataclass
class Context:
    """What a run is given from outside: somebody to tell how many steps are done, and the results of what it needs."""

    report: Callable[[int], None] = lambda steps: None
    results: Mapping[str, Result] = field(default_factory=dict)

    def result(self, need: str) -> Result:
        """The result of one of the job's needs. Raises ValueError where it was not handed over."""
        if need not in self.results:
            raise ValueError(f"this run needs the result of another, {need}: `minirembert.lab.runs.records` makes both")
        return self.results[need]


class Job(Protocol):
    """A frozen dataclass whose fields decide all of what `run` gives back.

    `kind` is its name in a cache, `steps` how much it will report, `needs` the jobs whose results it is handed.
    """

    kind: ClassVar[str]

    @property
    def steps(self) -> int:
        """How many steps `run` will report."""

    @property
    def needs(self) -> Mapping[str, "Job"]:
        """The jobs whose results `run` is handed, by the names under which it asks for them."""

    def run(self, context: Context) -> Result:
        """Does the work and gives back what was measured. `context` is told of every step done."""


def settings_of(job: Job) -> dict[str, Any]:
    """All settings of a job, as JSON gives them back: tuples are lists."""
    settings: dict[str, Any] = json.loads(json.dumps(asdict(job)))  # type: ignore[call-overload]
    return settings
