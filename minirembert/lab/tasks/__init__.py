"""Mini-XTREME: four tasks made of the same meanings as the text, learned in one language and scored in all.

task.py         what a task is; examples as arrays
split.py        what may be learned from, and what is kept back
paraphrase.py   pairs: the same words, the same meaning? (mini-PAWS)
inference.py    pairs: entailment, neutral, contradiction (mini-NLI)
tags.py         words: role and number, and names that are persons or places
questions.py    spans: who, what, where, when (mini-QA)
finetune.py     learning a task from a pre-trained lab model; scores
baselines.py    what a score is to be compared with
"""

from .finetune import fine_tune, score
from .inference import INFERENCE
from .paraphrase import PARAPHRASE
from .questions import QUESTIONS
from .tags import TAGS
from .task import Examples, Task

TASKS = {task.name: task for task in (PARAPHRASE, INFERENCE, TAGS, QUESTIONS)}

__all__ = ["TASKS", "Examples", "Task", "fine_tune", "score"]
