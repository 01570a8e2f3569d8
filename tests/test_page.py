"""Every example of Hugging Face's page for RemBERT (4.34), replayed on NumPy alone, and what comes out is right.

`page/examples.md` has the code, `page/replay.py` runs it where PyTorch, TensorFlow and transformers cannot be imported. Here
transformers, which reads the same folder, computes in float64 what must have come out, and SentencePiece the ids.

| block of the page                       | what it shows                                | changed, NumPy's in its place |
|-----------------------------------------|----------------------------------------------|-------------------------------|
| RemBertConfig 1                         | a configuration, a model, its configuration  | two sizes: else it has 2.3 GB |
| RemBertTokenizer 1, ...Fast 1           | token types of a pair: a drawing             | code that gives the drawing   |
| RemBertModel 1                          | text to hidden states                        |                               |
| RemBertForCausalLM 1                    | a decoder by its configuration               |                               |
| RemBertForMaskedLM 1                    | a mask filled; the loss there                | where, nonzero                |
| RemBertForSequenceClassification 1      | a class; the loss of a label                 | tensor                        |
| RemBertForSequenceClassification 2      | many labels at once; their loss              | arange, sigmoid, one_hot, sum |
| RemBertForMultipleChoice 1              | two ways to go on; the loss of a label       | tensor, unsqueeze             |
| RemBertForTokenClassification 1         | a class for each token; the loss of labels   |                               |
| RemBertForQuestionAnswering 1           | start and end of an answer; their loss       | tensor                        |
| TFRemBertModel 1                        | the encoding itself as first argument        |                               |
| TFRemBertForMaskedLM 1, 2               | a mask filled; the loss there                | where, gather_nd, argmax      |
| TFRemBertForCausalLM 1                  | scores, without being a decoder              |                               |
| TFRemBertForSequenceClassification 1, 2 | a class; the loss of a label without axes    | argmax, constant              |
| TFRemBertForMultipleChoice 1            | a dictionary as first argument               | expand_dims                   |
| TFRemBertForTokenClassification 1, 2    | a class for each token; the mean of the loss | argmax, reduce_mean           |
| TFRemBertForQuestionAnswering 1, 2      | start and end; the mean of the loss          | argmax, constant, reduce_mean |

Beside these, the import and the sentences are ours, `return_tensors` is "np", and `torch.no_grad()`, which has nothing to do
in NumPy, is left out.
"""

import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from page.expected import assert_near, expected_ids, hugging_face, run
from page.replay import EXAMPLES, REFUSED, blocks
from page.small_checkpoint import CONFIG, WORDS, write_small_checkpoint

import minirembert
from minirembert import RemBertConfig

# The blocks of code on the page, by the class under whose heading they stand
PAGE = {
    "RemBertConfig": 1, "RemBertTokenizer": 1, "RemBertTokenizerFast": 1, "RemBertModel": 1, "RemBertForCausalLM": 1,
    "RemBertForMaskedLM": 1, "RemBertForSequenceClassification": 2, "RemBertForMultipleChoice": 1,
    "RemBertForTokenClassification": 1, "RemBertForQuestionAnswering": 1, "TFRemBertModel": 1, "TFRemBertForMaskedLM": 2,
    "TFRemBertForCausalLM": 1, "TFRemBertForSequenceClassification": 2, "TFRemBertForMultipleChoice": 1,
    "TFRemBertForTokenClassification": 2, "TFRemBertForQuestionAnswering": 2,
}  # fmt: skip
SECTIONS = [(name, number) for name, count in PAGE.items() for number in range(1, count + 1)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: Any) -> Path:
    """A folder that has google/rembert in it."""
    root = tmp_path_factory.mktemp("page")
    write_small_checkpoint(root / "google" / "rembert")
    return root


@pytest.fixture(scope="module")
def folder(root: Path) -> Path:
    return root / "google" / "rembert"


@pytest.fixture(scope="module")
def seen(root: Path, tmp_path_factory: Any) -> dict[tuple[str, int], dict[str, Any]]:
    """What each block's variables held after it."""
    out = tmp_path_factory.mktemp("seen") / "seen.pickle"
    program = EXAMPLES.with_name("replay.py")
    done = subprocess.run([sys.executable, str(program), str(out)], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return pickle.loads(out.read_bytes())


# --- the blocks -------------------------------------------------------------------------------------------------------


def test_every_block_is_replayed_and_tested() -> None:
    assert {name: len(sources) for name, sources in blocks().items()} == PAGE
    assert {name for name in globals() if re.fullmatch(r"test_(TF)?RemBert.*", name)} == {
        f"test_{name}_{number}" for name, number in SECTIONS
    }
    assert all(getattr(minirembert, name) is getattr(minirembert, name.removeprefix("TF")) for name in PAGE)


def test_the_replay_can_import_none_of_them(root: Path) -> None:
    """And the refusal is real: each of them, and what is inside of them."""
    program = (
        "import sys; from page.replay import REFUSED, Refuse; sys.meta_path.insert(0, Refuse())\n"
        "for name in [*REFUSED, 'torch.nn', 'transformers.models']:\n"
        "    try: __import__(name)\n"
        "    except ImportError as error: assert 'run without' in str(error)\n"
        "    else: raise AssertionError(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=EXAMPLES.parent.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {"torch", "triton", "tensorflow", "transformers"} <= {*REFUSED}


def test_RemBertConfig_1(seen: Any) -> None:
    """The defaults are transformers' own, and the model has the shapes that they say."""
    block = seen["RemBertConfig", 1]
    theirs = transformers.RemBertConfig().to_dict()
    ours = RemBertConfig().to_dict()
    sizes = {name: ours[name] for name in ours.keys() & theirs.keys()}
    assert len(sizes) > 20 and sizes == {name: theirs[name] for name in sizes} | {"id2label": ours["id2label"]}
    assert block["configuration"] == block["model"]["config"] == ours | {"vocab_size": 500, "num_hidden_layers": 1}
    config = transformers.RemBertConfig(vocab_size=500, num_hidden_layers=1)
    with torch.device("meta"):
        shapes = {name: tuple(p.shape) for name, p in transformers.RemBertModel(config).state_dict().items()}
    assert {name: array.shape for name, array in block["model"]["parameters"].items()} == shapes


def check_token_types(block: dict[str, Any]) -> None:
    """Nine tokens with [CLS] and [SEP] are eleven zeros, eight with [SEP] nine ones: as drawn."""
    assert block["token_type_ids"] == [0] * 11 + [1] * 9
    assert block["of_one_sequence"] == [0] * 11


def test_RemBertTokenizer_1(seen: Any) -> None:
    check_token_types(seen["RemBertTokenizer", 1])


def test_RemBertTokenizerFast_1(seen: Any) -> None:
    check_token_types(seen["RemBertTokenizerFast", 1])


def check_encoder(block: dict[str, Any], folder: Path) -> None:
    assert block["inputs"]["input_ids"].tolist() == [expected_ids(folder, "The river is quiet this morning")]
    expected = run(hugging_face(folder, block["model"]), block["inputs"])
    assert_near(block["last_hidden_states"], expected.last_hidden_state, "last_hidden_states")
    assert_near(block["outputs"]["pooler_output"], expected.pooler_output, "pooler_output")
    assert block["tokenizer"].startswith("RemBertTokenizerFast(")
    assert block["warnings"] == []  # the folder has all of this model, and position_ids are nobody's concern


def test_RemBertModel_1(seen: Any, folder: Path) -> None:
    check_encoder(seen["RemBertModel", 1], folder)


def test_TFRemBertModel_1(seen: Any, folder: Path) -> None:
    check_encoder(seen["TFRemBertModel", 1], folder)


def test_RemBertForCausalLM_1(seen: Any, folder: Path) -> None:
    """A decoder: what stands later changes nothing, and there is a cache."""
    block = seen["RemBertForCausalLM", 1]
    theirs = hugging_face(folder, block["model"], is_decoder=True)
    assert_near(block["prediction_logits"], run(theirs, block["inputs"]).logits, "prediction_logits")
    first_three = {name: array[:, :3] for name, array in block["inputs"].items()}
    assert_near(block["prediction_logits"][:, :3], run(theirs, first_three).logits, "logits of three tokens")
    assert len(block["outputs"]["past_key_values"]) == CONFIG["num_hidden_layers"]
    check_warnings(block, "cls.predictions", "pooler")


def test_TFRemBertForCausalLM_1(seen: Any, folder: Path) -> None:
    """The page asks for no decoder: every token sees all of them, and there is no cache."""
    block = seen["TFRemBertForCausalLM", 1]
    theirs = hugging_face(folder, block["model"])
    assert_near(block["logits"], run(theirs, block["inputs"]).logits, "logits")
    assert "past_key_values" not in block["outputs"]


def check_warnings(block: dict[str, Any], fresh: str, unused: str | None = None) -> None:
    """One warning names the head that the folder lacks, one what this model has no place for; and that is all."""
    made, *left = block["warnings"]
    assert "newly initialised" in made and fresh in made
    assert len(left) == (unused is not None)
    assert unused is None or ("not used" in left[0] and unused in left[0])


def check_mask(block: dict[str, Any], folder: Path) -> torch.nn.Module:
    """The mask is found, and the answer is the piece with the best score there. Returns their model."""
    ids = expected_ids(folder, "The opposite of early is [MASK].")
    assert block["inputs"]["input_ids"].tolist() == [ids]
    assert block["mask_token_index"].ravel().tolist() == [ids.index(314)]
    theirs = hugging_face(folder, block["model"])
    logits = run(theirs, block["inputs"]).logits
    assert_near(block["logits"], logits, "logits")
    assert block["predicted_token_id"].tolist() == [logits[0, ids.index(314)].argmax().item()]
    return theirs


def check_loss_at_the_mask(block: dict[str, Any], folder: Path, theirs: torch.nn.Module) -> None:
    """The label of the mask is the piece that the answer's sentence has there; nothing else has one."""
    answer = expected_ids(folder, "The opposite of early is late.")
    at = int(block["mask_token_index"].item())
    assert len(answer) == block["labels"].shape[1]
    assert block["labels"].tolist() == [[i if s == at else -100 for s, i in enumerate(answer)]]
    assert answer[at] == 315 + WORDS.index("▁late")
    expected = run(theirs, block["inputs"], labels=block["labels"])
    assert_near(block["outputs"]["loss"], expected.loss, "loss")
    assert_near(block["outputs"]["logits"], expected.logits, "logits beside the loss")


def test_RemBertForMaskedLM_1(seen: Any, folder: Path) -> None:
    block = seen["RemBertForMaskedLM", 1]
    check_loss_at_the_mask(block, folder, check_mask(block, folder))
    check_warnings(block, "cls.predictions", "pooler")


def test_TFRemBertForMaskedLM_1(seen: Any, folder: Path) -> None:
    block = seen["TFRemBertForMaskedLM", 1]
    check_mask(block, folder)
    check_warnings(block, "cls.predictions", "pooler")


def test_TFRemBertForMaskedLM_2(seen: Any, folder: Path) -> None:
    block = seen["TFRemBertForMaskedLM", 2]
    check_loss_at_the_mask(block, folder, hugging_face(folder, block["model"]))


def check_class(block: dict[str, Any], folder: Path, **changes: Any) -> torch.nn.Module:
    """The scores. Both models of the example have the same fresh head, from the same seed. Returns their model."""
    assert block["inputs"]["input_ids"].tolist() == [expected_ids(folder, "The river is quiet this morning")]
    theirs = hugging_face(folder, block["model"], num_labels=2, **changes)
    assert_near(block["logits"], run(theirs, block["inputs"]).logits, "logits")
    return theirs


def test_RemBertForSequenceClassification_1(seen: Any, folder: Path) -> None:
    block = seen["RemBertForSequenceClassification", 1]
    expected = run(check_class(block, folder), block["inputs"], labels=np.array([1]))
    assert block["predicted_class_id"] == expected.logits.argmax().item()
    assert_near(block["loss"], expected.loss, "loss")
    assert block["num_labels"] == 2
    assert block["model"]["config"]["problem_type"] == "single_label_classification"
    assert len(block["warnings"]) == 2 and all("classifier.*" in warning for warning in block["warnings"])


def test_RemBertForSequenceClassification_2(seen: Any, folder: Path) -> None:
    block = seen["RemBertForSequenceClassification", 2]
    theirs = check_class(block, folder, problem_type="multi_label_classification")
    logits = run(theirs, block["inputs"]).logits
    likely = (torch.sigmoid(logits)[0] > 0.5).numpy()
    assert block["predicted_class_ids"].tolist() == np.flatnonzero(likely).tolist()
    assert block["labels"].tolist() == [likely.astype(float).tolist()]
    assert_near(block["loss"], run(theirs, block["inputs"], labels=likely[None].astype(float)).loss, "loss")
    assert block["model"]["config"]["problem_type"] == "multi_label_classification"


def test_TFRemBertForSequenceClassification_1(seen: Any, folder: Path) -> None:
    block = seen["TFRemBertForSequenceClassification", 1]
    expected = run(check_class(block, folder), block["inputs"])
    assert block["predicted_class_id"] == expected.logits.argmax().item()
    check_warnings(block, "classifier")


def test_TFRemBertForSequenceClassification_2(seen: Any, folder: Path) -> None:
    """The label is a number with no axis at all."""
    block = seen["TFRemBertForSequenceClassification", 2]
    assert block["labels"].shape == ()
    expected = run(check_class(block, folder), block["inputs"], labels=np.array([1]))
    assert_near(np.mean(block["loss"]), expected.loss, "loss")


def check_choice(block: dict[str, Any], inputs: dict[str, Any], folder: Path) -> Any:
    """Two pairs, padded to the same length, one row of two scores. Returns what their model says."""
    prompt = "Where there is no bridge, people cross the river in the small boat."
    choices = ("They sit in it and row.", "They carry it over on their heads, all of them together.")
    rows = [expected_ids(folder, prompt, choice) for choice in choices]
    length = max(map(len, rows))
    assert len(rows[0]) < length == len(rows[1])
    padding = length - len(rows[0])
    assert inputs["input_ids"].tolist() == [[rows[0] + [0] * padding, rows[1]]]
    assert inputs["attention_mask"].tolist() == [[[1] * len(rows[0]) + [0] * padding, [1] * length]]
    expected = run(hugging_face(folder, block["model"]), inputs, labels=np.array([0]))
    assert_near(block["logits"], expected.logits, "logits")
    assert block["logits"].shape == (1, 2)
    check_warnings(block, "classifier")
    return expected


def test_RemBertForMultipleChoice_1(seen: Any, folder: Path) -> None:
    block = seen["RemBertForMultipleChoice", 1]
    expected = check_choice(block, {name: array[None] for name, array in block["encoding"].items()}, folder)
    assert_near(block["loss"], expected.loss, "loss")


def test_TFRemBertForMultipleChoice_1(seen: Any, folder: Path) -> None:
    block = seen["TFRemBertForMultipleChoice", 1]
    check_choice(block, block["inputs"], folder)


def check_tags(block: dict[str, Any], folder: Path) -> torch.nn.Module:
    """A class for each token, and no token that the text has not. Returns their model."""
    text = "Marta of Lisbon leads the museum in Oslo"
    assert block["inputs"]["input_ids"].tolist() == [expected_ids(folder, text, special=False)]
    theirs = hugging_face(folder, block["model"])
    logits = run(theirs, block["inputs"]).logits
    assert_near(block["logits"], logits, "logits")
    best = logits.argmax(-1).tolist()
    assert block["predicted_token_class_ids"].tolist() == best
    assert block["predicted_tokens_classes"] == [f"LABEL_{i}" for i in best[0]]
    return theirs


def check_loss_of_tags(block: dict[str, Any], folder: Path) -> None:
    theirs = check_tags(block, folder)
    assert_near(block["loss"], run(theirs, block["inputs"], labels=block["labels"]).loss, "loss")


def test_RemBertForTokenClassification_1(seen: Any, folder: Path) -> None:
    block = seen["RemBertForTokenClassification", 1]
    check_loss_of_tags(block, folder)
    check_warnings(block, "classifier", "pooler")


def test_TFRemBertForTokenClassification_1(seen: Any, folder: Path) -> None:
    check_tags(seen["TFRemBertForTokenClassification", 1], folder)


def test_TFRemBertForTokenClassification_2(seen: Any, folder: Path) -> None:
    check_loss_of_tags(seen["TFRemBertForTokenClassification", 2], folder)


def check_answer(block: dict[str, Any], folder: Path) -> torch.nn.Module:
    """Start, end, and the tokens between them. Returns their model."""
    texts = ("Who feeds the old cat?", "The old cat is fed by the baker before the sun is up")
    ids = expected_ids(folder, *texts)
    assert block["inputs"]["input_ids"].tolist() == [ids]
    second = ids.index(313) + 1
    assert block["inputs"]["token_type_ids"].tolist() == [[0] * second + [1] * (len(ids) - second)]
    theirs = hugging_face(folder, block["model"])
    expected = run(theirs, block["inputs"])
    start, end = expected.start_logits.argmax().item(), expected.end_logits.argmax().item()
    assert (block["answer_start_index"], block["answer_end_index"]) == (start, end)
    assert block["predict_answer_tokens"].tolist() == ids[start : end + 1]
    return theirs


def check_loss_of_positions(block: dict[str, Any], folder: Path) -> None:
    theirs = check_answer(block, folder)
    baker = [315 + WORDS.index(word) for word in ("▁the", "▁baker")]
    assert block["inputs"]["input_ids"][0, 14:16].tolist() == baker  # inside: positions outside count for nothing
    expected = run(theirs, block["inputs"], start_positions=np.array([14]), end_positions=np.array([15]))
    assert np.isfinite(block["loss"])
    assert_near(block["loss"], expected.loss, "loss")
    assert_near(block["outputs"]["start_logits"], expected.start_logits, "start_logits")
    assert_near(block["outputs"]["end_logits"], expected.end_logits, "end_logits")


def test_RemBertForQuestionAnswering_1(seen: Any, folder: Path) -> None:
    block = seen["RemBertForQuestionAnswering", 1]
    check_loss_of_positions(block, folder)
    check_warnings(block, "qa_outputs", "pooler")


def test_TFRemBertForQuestionAnswering_1(seen: Any, folder: Path) -> None:
    check_answer(seen["TFRemBertForQuestionAnswering", 1], folder)


def test_TFRemBertForQuestionAnswering_2(seen: Any, folder: Path) -> None:
    check_loss_of_positions(seen["TFRemBertForQuestionAnswering", 2], folder)
