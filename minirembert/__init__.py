"""RemBERT from scratch: a multilingual encoder with decoupled embeddings, in NumPy one can read.

    from minirembert import RemBertForMaskedLM, RemBertTokenizer

Names load on first use, so that `import minirembert` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minirembert.config import RemBertConfig
    from minirembert.model.base import RemBertModel
    from minirembert.model.causal_lm import RemBertForCausalLM
    from minirembert.model.tasks import (
        RemBertForMaskedLM,
        RemBertForMultipleChoice,
        RemBertForQuestionAnswering,
        RemBertForSequenceClassification,
        RemBertForTokenClassification,
    )
    from minirembert.tokenization.tokenizer import RemBertTokenizer

__version__ = "0.1.0"

_HOMES = {
    "RemBertConfig": "minirembert.config",
    "RemBertModel": "minirembert.model.base",
    "RemBertForCausalLM": "minirembert.model.causal_lm",
    "RemBertForMaskedLM": "minirembert.model.tasks",
    "RemBertForMultipleChoice": "minirembert.model.tasks",
    "RemBertForQuestionAnswering": "minirembert.model.tasks",
    "RemBertForSequenceClassification": "minirembert.model.tasks",
    "RemBertForTokenClassification": "minirembert.model.tasks",
    "RemBertTokenizer": "minirembert.tokenization.tokenizer",
}

__all__ = [
    "RemBertConfig",
    "RemBertForCausalLM",
    "RemBertForMaskedLM",
    "RemBertForMultipleChoice",
    "RemBertForQuestionAnswering",
    "RemBertForSequenceClassification",
    "RemBertForTokenClassification",
    "RemBertModel",
    "RemBertTokenizer",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'minirembert' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
