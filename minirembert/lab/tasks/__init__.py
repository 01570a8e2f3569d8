"""Mini-XTREME."""

from .finetune import fine_tune, score
from .inference import INFERENCE
from .paraphrase import PARAPHRASE
from .questions import QUESTIONS
from .tags import TAGS
from .task import Examples, Task

TASKS = {task.name: task for task in (PARAPHRASE, INFERENCE, TAGS, QUESTIONS)}
