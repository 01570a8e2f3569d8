"""What ought to come out of the examples: ids by SentencePiece, outputs and losses by transformers in float64."""

from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
import transformers
from checks import PARITY_FLOAT32, assert_within, largest_in_row


def expected_ids(folder: Path, *texts: str, special: bool = True) -> list[int]:
    """[CLS] first [SEP] second [SEP], by SentencePiece and by what google/rembert calls 312, 313 and 314."""
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "sentencepiece.model"))
    ids = [312] if special else []
    for text in texts:
        before, *after = (pieces.encode(part) for part in text.split("[MASK]"))
        ids += before + [i for part in after for i in [314, *part]] + ([313] if special else [])
    return ids


def assert_near(ours: Any, theirs: Any, what: str) -> None:
    """float32 against float64, relative to the largest entry in the row."""
    expected = theirs.detach().numpy()
    assert np.asarray(ours).dtype == np.float32, what
    assert_within(ours, expected, PARITY_FLOAT32 * largest_in_row(np.abs(expected)), what, None)


def hugging_face(folder: Path, model: dict[str, Any], **changes: Any) -> torch.nn.Module:
    """Their model, read by them from the same folder. What the folder has not they make up as we do, but from another
    generator; so that gets our numbers. Everything else must have ours already."""
    config = transformers.RemBertConfig.from_pretrained(folder, attn_implementation="eager", **changes)
    kind = getattr(transformers, model["class"])
    theirs, info = kind.from_pretrained(folder, config=config, output_loading_info=True)
    ours = {name: torch.from_numpy(array) for name, array in model["parameters"].items()}
    state = theirs.state_dict()
    assert state.keys() == ours.keys()
    assert all(name.startswith(("cls.", "classifier.", "qa_outputs.")) for name in info["missing_keys"])
    assert all(name in info["missing_keys"] or torch.equal(state[name], ours[name]) for name in state)
    theirs.load_state_dict(ours)
    return theirs.double().eval()


def run(theirs: torch.nn.Module, inputs: dict[str, Any], **labels: Any) -> Any:
    tensors = {name: torch.from_numpy(np.array(value)) for name, value in {**inputs, **labels}.items()}
    with torch.no_grad():
        return theirs(**{n: t.double() if t.is_floating_point() else t for n, t in tensors.items()})
