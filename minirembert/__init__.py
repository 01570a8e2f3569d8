"""RemBERT from scratch: a multilingual encoder with decoupled embeddings, in NumPy one can read.

    from minirembert import RemBertForMaskedLM, RemBertTokenizer

Names load on first use, so that `import minirembert` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minirembert.config import RemBertConfig
    from minirembert.model.base import RemBertModel
    from minirembert.model.base import RemBertModel as TFRemBertModel
    from minirembert.model.causal_lm import RemBertForCausalLM
    from minirembert.model.causal_lm import RemBertForCausalLM as TFRemBertForCausalLM
    from minirembert.model.tasks import (
        RemBertForMaskedLM,
        RemBertForMultipleChoice,
        RemBertForQuestionAnswering,
        RemBertForSequenceClassification,
        RemBertForTokenClassification,
    )
    from minirembert.model.tasks import RemBertForMaskedLM as TFRemBertForMaskedLM
    from minirembert.model.tasks import RemBertForMultipleChoice as TFRemBertForMultipleChoice
    from minirembert.model.tasks import RemBertForQuestionAnswering as TFRemBertForQuestionAnswering
    from minirembert.model.tasks import RemBertForSequenceClassification as TFRemBertForSequenceClassification
    from minirembert.model.tasks import RemBertForTokenClassification as TFRemBertForTokenClassification
    from minirembert.tokenization.auto import AutoTokenizer
    from minirembert.tokenization.fast import RemBertTokenizerFast
    from minirembert.tokenization.tokenizer import RemBertTokenizer

__version__ = "0.1.0"

_HOMES = {
    "AutoTokenizer": "minirembert.tokenization.auto",
    "RemBertConfig": "minirembert.config",
    "RemBertModel": "minirembert.model.base",
    "RemBertForCausalLM": "minirembert.model.causal_lm",
    "RemBertForMaskedLM": "minirembert.model.tasks",
    "RemBertForMultipleChoice": "minirembert.model.tasks",
    "RemBertForQuestionAnswering": "minirembert.model.tasks",
    "RemBertForSequenceClassification": "minirembert.model.tasks",
    "RemBertForTokenClassification": "minirembert.model.tasks",
    "RemBertTokenizer": "minirembert.tokenization.tokenizer",
    "RemBertTokenizerFast": "minirembert.tokenization.fast",
}
# TensorFlow's classes are the same classes here: they take what TensorFlow's take, and NumPy arrays come out.
_TENSORFLOW = {f"TF{name}": name for name in _HOMES if name.startswith(("RemBertFor", "RemBertModel"))}

__all__ = [
    "AutoTokenizer",
    "RemBertConfig",
    "RemBertForCausalLM",
    "RemBertForMaskedLM",
    "RemBertForMultipleChoice",
    "RemBertForQuestionAnswering",
    "RemBertForSequenceClassification",
    "RemBertForTokenClassification",
    "RemBertModel",
    "RemBertTokenizer",
    "RemBertTokenizerFast",
    "TFRemBertForCausalLM",
    "TFRemBertForMaskedLM",
    "TFRemBertForMultipleChoice",
    "TFRemBertForQuestionAnswering",
    "TFRemBertForSequenceClassification",
    "TFRemBertForTokenClassification",
    "TFRemBertModel",
]


def __getattr__(name: str) -> Any:
    name = _TENSORFLOW.get(name, name)
    if name not in _HOMES:
        raise AttributeError(f"module 'minirembert' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
