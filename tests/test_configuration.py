"""The configuration's defaults, and names of labels that a file has in another order than their numbers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import RemBertConfig as TheirConfig

from minirembert import RemBertConfig, RemBertForSequenceClassification

THEIRS = TheirConfig()
OF_OURS_ALONE = {"problem_type", "id2label", "extra", "is_decoder", "add_cross_attention", "output_hidden_states",
                 "output_attentions", "return_dict", "use_cache", "chunk_size_feed_forward"}  # fmt: skip


def test_every_size_is_google_rembert_s_by_default() -> None:
    ours = {name: getattr(RemBertConfig(), name) for name in RemBertConfig.__dataclass_fields__}
    compared = {name: value for name, value in ours.items() if name not in OF_OURS_ALONE}
    assert compared == {name: getattr(THEIRS, name) for name in compared}
    assert len(compared) == 18
    assert ours["id2label"] == THEIRS.id2label
    assert (ours["is_decoder"], ours["add_cross_attention"], ours["chunk_size_feed_forward"]) == (False, False, 0)
    assert (ours["use_cache"], ours["return_dict"], ours["output_attentions"]) == (True, True, False)
    assert (ours["output_hidden_states"], ours["problem_type"], ours["extra"]) == (False, None, {})


@pytest.mark.parametrize("order", ["sorted as text", "backwards"])
def test_eleven_labels_keep_their_numbers_whatever_order_a_file_has(order: str, tmp_path: Path) -> None:
    """JSON sorts "10" before "2": a name belongs to the number beside it, and so does its row of the classifier."""
    names = {i: f"class {i}" for i in range(13)}
    sizes: dict[str, Any] = dict(vocab_size=20, hidden_size=6, num_hidden_layers=1, num_attention_heads=2,
                 input_embedding_size=4, output_embedding_size=5, intermediate_size=7)  # fmt: skip
    model = RemBertForSequenceClassification(RemBertConfig(id2label=names, **sizes))
    model.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    values = json.loads(file.read_text())
    ids = sorted(values["id2label"]) if order == "sorted as text" else [*values["id2label"]][::-1]
    assert ids != [str(i) for i in range(13)]
    values["id2label"] = {i: values["id2label"][i] for i in ids}
    values["label2id"] = dict(reversed(values["label2id"].items()))
    file.write_text(json.dumps(values))
    loaded = RemBertForSequenceClassification.from_pretrained(tmp_path)
    assert loaded.config.id2label == names
    assert loaded.config.label2id == {name: i for i, name in names.items()}
    best = int(np.argmax(loaded([[5, 6]]).logits))
    assert loaded.config.id2label[best] == f"class {int(np.argmax(model([[5, 6]]).logits))}"


def test_two_configurations_share_nothing() -> None:
    one, other = RemBertConfig(), RemBertConfig()
    one.id2label[0] = "changed"
    one.extra["note"] = 1
    assert other.id2label[0] == "LABEL_0" and other.extra == {}
    assert RemBertConfig().id2label[0] == "LABEL_0"


OTHER: dict[str, Any] = dict(
    vocab_size=24, hidden_size=14, num_hidden_layers=3, num_attention_heads=7, input_embedding_size=5, output_embedding_size=11,
    intermediate_size=13, hidden_act="relu", hidden_dropout_prob=0.5, attention_probs_dropout_prob=0.25,
    classifier_dropout_prob=0.75, max_position_embeddings=17, type_vocab_size=3, initializer_range=0.5, layer_norm_eps=0.25,
    pad_token_id=4, bos_token_id=5, eos_token_id=6, is_decoder=True, add_cross_attention=True, use_cache=False,
    chunk_size_feed_forward=3, problem_type="regression", id2label={0: "no", 1: "yes", 2: "maybe"}, output_hidden_states=True,
    output_attentions=True, return_dict=False, extra={"note": [1, {"a": None}]},
)  # fmt: skip


@pytest.mark.parametrize("field", RemBertConfig.__dataclass_fields__)
def test_every_field_survives_a_file(field: str, tmp_path: Path) -> None:
    """Alone and beside the others, all of which are different from their defaults."""
    default = RemBertConfig()
    assert getattr(RemBertConfig(**OTHER), field) == OTHER[field] != getattr(default, field)
    also = {"is_decoder": True} if field == "add_cross_attention" else {}
    for values in (
        ({field: OTHER[field], **also}, OTHER) if field not in ("hidden_size", "num_attention_heads") else (OTHER,)
    ):
        RemBertConfig(**values).save_pretrained(tmp_path)
        loaded = RemBertConfig.from_pretrained(tmp_path)
        for name in RemBertConfig.__dataclass_fields__:
            expected = values.get(name, getattr(default, name))
            found = getattr(loaded, name)
            if name == "extra":
                found = {key: value for key, value in found.items() if key != "model_type"}
            assert found == expected, name
