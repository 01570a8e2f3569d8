"""Folders with a whole tokenizer.json and no sentencepiece.model, as transformers 5 saves them: every command takes them."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from tokenizer_models import small_model

from minirembert import AutoTokenizer, RemBertConfig, RemBertForMaskedLM, RemBertTokenizer, RemBertTokenizerFast
from minirembert.cli import main

TEXT = "the people [MASK] covfefe <y>"
SIZES = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8,
         "input_embedding_size": 8, "output_embedding_size": 8, "max_position_embeddings": 16}  # fmt: skip


@pytest.fixture(scope="module")
def ours(tmp_path_factory) -> Path:
    """A folder that we wrote, with tokens beside the model's own."""
    path = tmp_path_factory.mktemp("ours")
    (path / "sentencepiece.model").write_bytes(small_model())
    tokenizer = RemBertTokenizer(path / "sentencepiece.model", model_max_length=16)
    tokenizer.add_tokens(["covfefe"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<z>", "<y>"]})
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def theirs(ours, tmp_path_factory) -> Path:
    """The same, once read and saved by the installed transformers."""
    path = tmp_path_factory.mktemp("theirs")
    transformers.PreTrainedTokenizerFast.from_pretrained(ours).save_pretrained(path)
    assert not (path / "sentencepiece.model").exists()
    assert json.loads((path / "tokenizer_config.json").read_text())["tokenizer_class"] == "TokenizersBackend"
    return path


@pytest.fixture(scope="module")
def model(theirs, tmp_path_factory) -> Path:
    """A model beside that tokenizer."""
    path = tmp_path_factory.mktemp("model")
    shutil.copytree(theirs, path, dirs_exist_ok=True)
    rows = len(RemBertTokenizerFast.from_pretrained(theirs))
    RemBertForMaskedLM(RemBertConfig(vocab_size=rows, **SIZES)).save_pretrained(path)
    return path


def named(folder: Path, target: Path, **changes: Any) -> Path:
    """A copy whose settings are changed."""
    shutil.copytree(folder, target)
    path = target / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes), encoding="utf-8")
    return target


@pytest.mark.parametrize("use_fast", [True, False])
@pytest.mark.parametrize(
    "name",
    ["TokenizersBackend", "PreTrainedTokenizerFast", "RemBertTokenizerFast", "RemBertTokenizer", None],
)
def test_every_name_that_such_a_folder_may_have(ours, theirs, tmp_path, name, use_fast):
    folder = named(theirs, tmp_path / "named", tokenizer_class=name)
    tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=use_fast)
    reference = transformers.PreTrainedTokenizerFast.from_pretrained(theirs)
    assert type(tokenizer) is RemBertTokenizerFast
    assert len(tokenizer) == len(reference) == len(RemBertTokenizer.from_pretrained(ours))
    assert tokenizer(TEXT).input_ids == reference(TEXT)["input_ids"]
    assert tokenizer("the", TEXT).input_ids == reference("the", TEXT)["input_ids"]
    assert tokenizer.all_special_tokens == RemBertTokenizer.from_pretrained(ours).all_special_tokens
    assert tokenizer.additional_special_tokens == ["<z>", "<y>"]
    assert tokenizer.model_max_length == 16
    tokenizer.save_pretrained(tmp_path / "again")
    again = AutoTokenizer.from_pretrained(tmp_path / "again")
    assert again(TEXT).input_ids == tokenizer(TEXT).input_ids
    assert again.additional_special_tokens == ["<z>", "<y>"]


def test_the_file_alone(theirs, tmp_path):
    shutil.copy(theirs / "tokenizer.json", tmp_path)
    for tokenizer in (AutoTokenizer.from_pretrained(tmp_path), RemBertTokenizerFast.from_pretrained(tmp_path)):
        assert tokenizer(TEXT).input_ids == AutoTokenizer.from_pretrained(theirs)(TEXT).input_ids
        assert tokenizer.convert_ids_to_tokens([tokenizer.unk_token_id, tokenizer.pad_token_id]) == ["[UNK]", "[PAD]"]
        assert len(tokenizer) == len(AutoTokenizer.from_pretrained(theirs))


def test_the_slow_one_is_used_where_it_can_be(ours, tmp_path):
    folder = named(ours, tmp_path / "both", tokenizer_class="TokenizersBackend")
    assert type(AutoTokenizer.from_pretrained(folder)) is RemBertTokenizerFast
    assert type(AutoTokenizer.from_pretrained(folder, use_fast=False)) is RemBertTokenizer


def test_special_tokens_with_names_of_their_own(theirs, tmp_path):
    extra = {"image_token": "<y>", "sound_token": "<z>"}
    folder = named(theirs, tmp_path / "named", extra_special_tokens=extra)
    assert AutoTokenizer.from_pretrained(folder).additional_special_tokens == ["<y>", "<z>"]


def test_another_model_under_the_same_name(theirs, tmp_path):
    """The class's name says nothing; what stands around a text does, and so does config.json."""
    content = json.loads((theirs / "tokenizer.json").read_text())
    special = {"<s>": {"id": "<s>", "ids": [5], "tokens": ["<s>"]}}
    template = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    other = {
        "type": "TemplateProcessing",
        "single": template,
        "pair": [*template, {"Sequence": {"id": "B", "type_id": 0}}],
    }
    for name, processor in (("other", {**other, "special_tokens": special}), ("none", None)):
        folder = named(theirs, tmp_path / name)
        (folder / "tokenizer.json").write_text(json.dumps({**content, "post_processor": processor}), encoding="utf-8")
        with pytest.raises(
            ValueError, match=r"no RemBERT tokenizer: its tokenizer.json puts .* around a text, not \[CLS\]"
        ):
            AutoTokenizer.from_pretrained(folder)
    folder = named(theirs, tmp_path / "t5")
    (folder / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(ValueError, match="holds a model of the type 't5'"):
        AutoTokenizer.from_pretrained(folder)


def test_masks_are_filled(model, capsys):
    assert main(["fill-mask", "--model", str(model), "--top", "2", "the [MASK] people"]) == 0
    assert len(capsys.readouterr().out.strip().splitlines()) == 2


def test_sentences_become_vectors(model, tmp_path, capsys):
    assert main(["embed", "--model", str(model), "--out", str(tmp_path / "v.npy"), "the people", "the"]) == 0
    vectors = np.load(tmp_path / "v.npy")
    assert vectors.shape == (2, SIZES["hidden_size"])


@pytest.mark.parametrize("kind", ["tsv", "conllu"])
def test_models_are_fine_tuned(model, tmp_path, kind, capsys):
    """What comes out is such a folder again, and can be fine-tuned once more."""
    tsv = "text\tlabel\n" + "the people\tyes\nnew\tno\n" * 2
    conllu = "1\tthe\t_\tDET\t_\t_\t_\t_\t_\t_\n2\tpeople\t_\tNOUN\t_\t_\t_\t_\t_\t_\n\n" * 2
    train = tmp_path / f"train.{kind}"
    train.write_text({"tsv": tsv, "conllu": conllu}[kind], encoding="utf-8")
    before = model
    for name in ("once", "twice"):
        out = tmp_path / name
        arguments = [
            "finetune",
            "--model",
            str(before),
            "--train",
            str(train),
            "--evaluate",
            str(train),
            "--out",
            str(out),
        ]
        assert main([*arguments, "--epochs", "1"]) == 0, capsys.readouterr().err
        assert (out / "tokenizer.json").is_file()
        assert type(AutoTokenizer.from_pretrained(out, use_fast=False)) is RemBertTokenizerFast
        before = out


def test_models_are_pre_trained_with_it(theirs, tmp_path, capsys):
    (tmp_path / "en.txt").write_text("the people the people\n" * 40, encoding="utf-8")
    sizes = [argument for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
             for argument in ("--" + name.replace("_", "-"), str(SIZES[name]))]  # fmt: skip
    arguments = ["pretrain", "--tokenizer", str(theirs), "--corpus", str(tmp_path / "en.txt"), "--steps", "2", *sizes]
    assert main([*arguments, "--out", str(tmp_path / "out"), "--batch-size", "2"]) == 0, capsys.readouterr().err
    assert main(["fill-mask", "--model", str(tmp_path / "out"), "the [MASK]"]) == 0


def test_such_a_folder_is_converted_whole(model, tmp_path, capsys):
    assert main(["convert", str(model), str(tmp_path / "out"), "--format", "pytorch"]) == 0
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (model / name).read_bytes()
    assert main(["embed", "--model", str(tmp_path / "out"), "the"]) == 0


def test_a_folder_with_neither_file(model, tmp_path, capsys):
    folder = tmp_path / "bare"
    shutil.copytree(model, folder)
    (folder / "tokenizer.json").unlink()
    (tmp_path / "train.tsv").write_text("text\tlabel\na\tyes\nb\tno\n", encoding="utf-8")
    wanted = f"{folder} holds no saved RemBERT tokenizer: neither tokenizer.json nor sentencepiece.model is there"
    finetune = [
        "finetune",
        "--model",
        str(folder),
        "--train",
        str(tmp_path / "train.tsv"),
        "--out",
        str(tmp_path / "out"),
    ]
    for arguments in (
        ["fill-mask", "--model", str(folder), "a [MASK]"],
        ["embed", "--model", str(folder), "a"],
        finetune,
    ):
        assert main(arguments) == 1
        assert capsys.readouterr().err.splitlines()[-1] == f"minirembert {arguments[0]}: {wanted}"
