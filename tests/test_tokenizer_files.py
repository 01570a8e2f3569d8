"""A tokenizer's folder: what is written, what is read, what is refused."""

import json
import pickle
from pathlib import Path

import pytest
from tokenizer_texts import write_files

from minirembert import RemBertTokenizer, RemBertTokenizerFast
from minirembert.tokenization.added_tokens import AddedToken
from minirembert.tokenization.training import train_tokenizer

PAD, CLS, UNK, SEP, MASK = range(5)
SPECIALS = ["[PAD]", "[CLS]", "[UNK]", "[SEP]", "[MASK]"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(write_files(path / "texts"), 260, path / "saved")
    return path / "saved"


@pytest.fixture(scope="module")
def tokenizer(folder) -> RemBertTokenizer:
    return RemBertTokenizer.from_pretrained(folder)


FLAGS = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
JSON_FILES = ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"]


def test_saved_files(tokenizer, tmp_path):
    paths = tokenizer.save_pretrained(tmp_path / "new" / "folder")
    assert {Path(path).name for path in paths} >= {*JSON_FILES, "sentencepiece.model"}
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == sorted(
        Path(path).name for path in paths
    )
    content = {Path(path).name: Path(path).read_bytes() for path in paths}
    assert content["sentencepiece.model"] == Path(tokenizer.vocab_file).read_bytes()
    config, special, added = (json.loads(content[name]) for name in JSON_FILES)
    tokens = {f"{name}_token": f"[{token}]" for name, token in zip(
        ("bos", "cls", "eos", "mask", "pad", "sep", "unk"), ("CLS", "CLS", "SEP", "MASK", "PAD", "SEP", "UNK"), strict=True
    )}  # fmt: skip
    assert special == tokens
    assert added == {token: i for i, token in enumerate(SPECIALS)}
    assert config == {  # to the byte what transformers 4.34 writes
        **tokens,
        "added_tokens_decoder": {str(i): {"content": token, **FLAGS} for i, token in enumerate(SPECIALS)},
        "additional_special_tokens": [],
        "clean_up_tokenization_spaces": True,
        "do_lower_case": False,
        "keep_accents": True,
        "model_max_length": int(1e30),
        "remove_space": True,
        "tokenizer_class": "RemBertTokenizer",
    }
    prefixed = tokenizer.save_pretrained(tmp_path, filename_prefix="my")
    assert {Path(path).name for path in prefixed} == {f"my-{Path(path).name}" for path in paths}
    with pytest.raises(ValueError, match="legacy_format=False is for RemBertTokenizerFast"):
        tokenizer.save_pretrained(tmp_path / "other", legacy_format=False)


def test_settings_survive_saving(folder, tmp_path):
    changes = {
        "do_lower_case": True, "remove_space": False, "keep_accents": False, "mask_token": "[UNK]",
        "model_max_length": 77, "clean_up_tokenization_spaces": False, "padding_side": "left", "truncation_side": "left",
        "split_special_tokens": True, "model_input_names": ["input_ids"], "bos_token": None,
    }  # fmt: skip
    RemBertTokenizer.from_pretrained(folder, **changes).save_pretrained(tmp_path)
    loaded = RemBertTokenizer.from_pretrained(str(tmp_path))
    assert {name: getattr(loaded, name) for name in changes} == changes
    assert RemBertTokenizer.from_pretrained(tmp_path, model_max_length=5).model_max_length == 5
    again = tmp_path / "again"
    loaded.save_pretrained(again)
    loaded.save_pretrained(again)  # over itself
    assert (again / "tokenizer_config.json").read_bytes() == (tmp_path / "tokenizer_config.json").read_bytes()
    loaded = pickle.loads(pickle.dumps(loaded))
    assert loaded.encode("THE WAR") == RemBertTokenizer.from_pretrained(again).encode("the war")


def test_folders_that_transformers_wrote(folder, tmp_path):
    model = tmp_path / "sentencepiece.model"
    model.write_bytes((folder / "sentencepiece.model").read_bytes())
    assert RemBertTokenizer.from_pretrained(tmp_path).mask_token_id == MASK  # the model alone
    config, special = tmp_path / "tokenizer_config.json", tmp_path / "special_tokens_map.json"
    config.write_text(json.dumps({"mask_token": "[SEP]", "name_or_path": "x", "tokenizer_class": "RemBertTokenizer"}))
    special.write_text(json.dumps({"mask_token": {"content": "[UNK]", "lstrip": True}}))
    assert RemBertTokenizer.from_pretrained(tmp_path).mask_token == "[UNK]"
    config.write_text(
        json.dumps({"mask_token": {"__type": "AddedToken", "content": "[PAD]"}, "added_tokens_decoder": {}})
    )
    assert RemBertTokenizer.from_pretrained(tmp_path).mask_token == "[PAD]"
    for wrong, message in [
        ({"padding_side": "up"}, "padding_side must be 'right' or 'left', got 'up'"),
        (
            {"added_tokens_decoder": {"7": {"content": "[MASK]"}}},
            r"'\[MASK\]' cannot have the id 7: the model has it as 4",
        ),
        ({"added_tokens_decoder": {"-1": {"content": "<x>"}}}, "'<x>' cannot have the id -1"),
        (
            {"added_tokens_decoder": {"300": {"content": "<x>"}, "301": {"content": "<x>"}}},
            "given two ids, 300 and 301",
        ),
        ({"added_tokens_decoder": ["<x>"]}, "tokenizer_config.json: added_tokens_decoder must map ids to tokens"),
        ({"added_tokens_decoder": {"x": {"content": "<x>"}}}, "tokenizer_config.json: added_tokens_decoder must map"),
        ({"model_max_length": "many"}, "model_max_length must be a number, got 'many'"),
        ({"model_input_names": "input_ids"}, "model_input_names must be a list of names, got 'input_ids'"),
        (
            {"mask_token": 5, "added_tokens_decoder": {}},
            "mask_token: a token must be a text or an AddedToken, got int 5",
        ),
        (
            {"mask_token": {"lstrip": True}, "added_tokens_decoder": {}},
            "mask_token: a token must be a text or an AddedToken, got dict",
        ),
        ({"additional_special_tokens": 5}, "additional_special_tokens must be a list of tokens, found 5"),
        ({"additional_special_tokens": [5]}, "additional_special_tokens: a token must be a text or an AddedToken"),
        ({"added_tokens_decoder": {"300": 5}}, "tokenizer_config.json: added_tokens_decoder must map"),
        ([], "tokenizer_config.json must hold a JSON object, found list"),
    ]:
        config.write_text(json.dumps(wrong))
        with pytest.raises(ValueError, match=message) as caught:
            RemBertTokenizer.from_pretrained(tmp_path)
        assert str(tmp_path) in str(caught.value)
    config.write_text("{}")
    with pytest.raises(TypeError, match="'lower' is no setting of RemBertTokenizer; there are added_tokens_decoder, "):
        RemBertTokenizer.from_pretrained(tmp_path, lower=True)
    config.write_text("{")
    with pytest.raises(ValueError, match=r"tokenizer_config.json is not valid JSON"):
        RemBertTokenizer.from_pretrained(tmp_path)


def test_additional_special_tokens(folder, tokenizer, tmp_path):
    """A special token that is given another name, and one that is an ordinary piece."""
    piece = max(tokenizer.get_vocab(), key=lambda piece: len(piece) * piece.isalpha())
    i = tokenizer.convert_tokens_to_ids(piece)
    changed = RemBertTokenizer.from_pretrained(folder, pad_token="[MASK]", additional_special_tokens=[piece])
    assert changed.all_special_tokens == ["[CLS]", "[SEP]", "[UNK]", "[MASK]", piece, "[PAD]"]
    assert changed.encode(f"{piece}[PAD]{piece}") == [CLS, i, PAD, i, SEP] != tokenizer.encode(f"{piece}[PAD]{piece}")
    assert changed.convert_ids_to_tokens([PAD, i, 5], skip_special_tokens=True) == [tokenizer.convert_ids_to_tokens(5)]
    changed.save_pretrained(tmp_path)
    loaded = RemBertTokenizer.from_pretrained(tmp_path)
    assert loaded.special_tokens_map == changed.special_tokens_map
    assert loaded.encode(f"{piece}[PAD]{piece}") == [CLS, i, PAD, i, SEP]
    vocab = tokenizer.get_vocab()
    short, long = next((piece[:-1], piece) for piece in vocab if piece.isalpha() and piece[:-1] in vocab)
    both = RemBertTokenizer.from_pretrained(folder, additional_special_tokens=[short, long])
    assert both.tokenize(f"{long}{short}") == [long, short]  # the longest wins


def test_special_tokens_that_are_no_pieces(folder, tmp_path):
    """They are appended in the order of their names, and saving keeps their ids and flags."""
    left = AddedToken("<left>", lstrip=True, special=True)
    made = RemBertTokenizer.from_pretrained(
        folder, mask_token="<mask>", pad_token=left, additional_special_tokens=["<x>"]
    )
    assert made.vocab_size == 260
    assert (len(made), made.pad_token_id, made.mask_token_id) == (263, 260, 261)
    assert made.get_vocab() | {"<left>": 260, "<mask>": 261, "<x>": 262} == made.get_vocab()
    assert made.additional_special_tokens_ids == [262, PAD, MASK]  # what the folder has as special stays so
    assert made.encode("<x><mask>a", padding="max_length", max_length=8)[-1] == 260
    made.add_tokens("<y>")
    made.save_pretrained(tmp_path)
    loaded = RemBertTokenizer.from_pretrained(tmp_path)
    assert loaded.added_tokens_decoder == made.added_tokens_decoder
    assert loaded.special_tokens_map == made.special_tokens_map
    assert loaded.added_tokens_decoder[260] == left
    assert json.loads((tmp_path / "added_tokens.json").read_text())["<y>"] == 263 == len(loaded) - 1


def test_folders_from_before_4_34(folder, tmp_path):
    """Without added_tokens_decoder the tokens stand in added_tokens.json, or else in a fast tokenizer's tokenizer.json."""
    (tmp_path / "sentencepiece.model").write_bytes((folder / "sentencepiece.model").read_bytes())
    (tmp_path / "special_tokens_map.json").write_text(
        json.dumps({"mask_token": "<mask>", "additional_special_tokens": ["<y>", {"content": "<x>", "lstrip": True}]})
    )
    added = tmp_path / "added_tokens.json"
    added.write_text(json.dumps({"<x>": 262, "<mask>": 260, "<y>": 261, "<z>": 263}))
    loaded = RemBertTokenizer.from_pretrained(tmp_path)
    assert loaded.get_added_vocab() | {"<mask>": 260, "<y>": 261, "<x>": 262, "<z>": 263} == loaded.get_added_vocab()
    assert loaded.mask_token_id == 260
    assert set(loaded.all_special_tokens) == {"[CLS]", "[SEP]", "[UNK]", "[PAD]", "<mask>", "<y>", "<x>"}
    assert loaded.added_tokens_decoder[263] == AddedToken("<z>", lstrip=True, rstrip=True)
    assert not loaded.added_tokens_decoder[260].lstrip
    added.write_text(json.dumps({"<x>": "262"}))
    with pytest.raises(ValueError, match=r"added_tokens.json must map tokens to ids, found \{'<x>': '262'\}"):
        RemBertTokenizer.from_pretrained(tmp_path)
    added.unlink()
    tokens = [{"id": 260, "content": "<mask>", "special": True}, {"id": 261, "content": "<y>", "normalized": False}]
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": tokens}))
    loaded = RemBertTokenizer.from_pretrained(tmp_path)
    assert (loaded.mask_token_id, loaded.convert_tokens_to_ids("<y>"), loaded.convert_tokens_to_ids("<x>")) == (
        260,
        261,
        262,
    )
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": ["<mask>"]}))
    with pytest.raises(ValueError, match=r"tokenizer.json: added_tokens must be tokens with ids"):
        RemBertTokenizer.from_pretrained(tmp_path)


def test_transformers_reads_tokens_that_are_no_pieces(folder, tmp_path):
    """Version 5, from tokenizer.json; what 4.34 wrote and read is in `test_tokenizer_recorded.py`."""
    transformers = pytest.importorskip("transformers", reason="reads our folder")
    made = RemBertTokenizer.from_pretrained(folder, mask_token="<mask>", additional_special_tokens=["<x>"])
    made.add_tokens([AddedToken("<left>", lstrip=True), AddedToken("people")])
    made.save_pretrained(tmp_path)
    theirs = transformers.RemBertTokenizer.from_pretrained(tmp_path)
    assert theirs.all_special_ids[:5] == made.all_special_ids[:5]
    assert len(theirs) == len(made)
    for text in ("the<mask>war", "<x><left>war<left>", "save the[MASK]<mask>", "war <left>the", "people<x>the war"):
        assert theirs(text)["input_ids"] == made(text).input_ids, text


def test_the_model_alone_is_enough(folder):
    loaded = RemBertTokenizer.from_pretrained(folder / "sentencepiece.model", do_lower_case=True)
    assert loaded.do_lower_case
    assert loaded.get_vocab() == RemBertTokenizer.from_pretrained(folder).get_vocab()


def test_save_vocabulary(folder, tokenizer, tmp_path, caplog):
    content = (folder / "sentencepiece.model").read_bytes()
    assert tokenizer.save_vocabulary(tmp_path) == (str(tmp_path / "sentencepiece.model"),)
    assert tokenizer.save_vocabulary(str(tmp_path), "my") == (str(tmp_path / "my-sentencepiece.model"),)
    assert (tmp_path / "my-sentencepiece.model").read_bytes() == content
    loaded = RemBertTokenizer(tmp_path / "sentencepiece.model")
    assert loaded.save_vocabulary(tmp_path) == (str(tmp_path / "sentencepiece.model"),)  # onto itself
    (tmp_path / "sentencepiece.model").write_bytes(b"something else")
    loaded.save_vocabulary(tmp_path)  # what it was made from, whatever the file has become
    assert (tmp_path / "sentencepiece.model").read_bytes() == content
    assert tokenizer.save_vocabulary(tmp_path / "none") is None
    assert "none is not a folder" in caplog.text


def test_files_that_are_no_tokenizer(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none/sentencepiece.model does not exist"):
        RemBertTokenizer.from_pretrained(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"vocab_file .*none.model does not exist"):
        RemBertTokenizer(tmp_path / "none.model")
    for content in (b"", b"nonsense", (folder / "sentencepiece.model").read_bytes()[:-500]):
        (tmp_path / "bad.model").write_bytes(content)
        with pytest.raises(ValueError, match=r"bad.model is not a SentencePiece model"):
            RemBertTokenizer(tmp_path / "bad.model")
    for token, error in (("", ValueError), (5, TypeError), (["[MASK]"], TypeError)):
        with pytest.raises(error, match=r"mask_token(: a token must be a text| must not be empty)"):
            RemBertTokenizer(folder / "sentencepiece.model", mask_token=token)


@pytest.mark.parametrize("kind", [RemBertTokenizer, RemBertTokenizerFast])
def test_a_folder_from_before_4_34_with_a_large_tokenizer_file(kind, folder, tmp_path):
    """google/rembert's is one, and its tokenizer.json takes 17 MB, more than any other JSON file may."""
    tokenizer = RemBertTokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(tmp_path)
    for name in ("tokenizer_config.json", "added_tokens.json"):
        (tmp_path / name).unlink()
    path = tmp_path / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8") + " " * 17 * 2**20, encoding="utf-8")
    text = "the cat [MASK] drinks"
    assert kind.from_pretrained(tmp_path)(text).input_ids == tokenizer(text).input_ids


@pytest.mark.parametrize("cls", [RemBertTokenizer, RemBertTokenizerFast])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            {"model_max_length": float("nan")},
            "tokenizer_config.json.model_max_length is nan, and JSON has no number for it",
        ),
        ({"model_input_names": {"input_ids"}}, "tokenizer_config.json.model_input_names cannot be written as JSON"),
    ],
)
def test_what_cannot_be_saved_is_refused_before_anything_is_written(folder, tmp_path, cls, damage, message):
    tokenizer = cls.from_pretrained(folder)
    tokenizer.save_pretrained(tmp_path / "before")
    before = {path.name: path.read_bytes() for path in (tmp_path / "before").iterdir()}
    for name, value in damage.items():
        vars(tokenizer)["_" + name if "_" + name in vars(tokenizer) else name] = value
    for target in ("before", "new"):
        with pytest.raises(ValueError, match=message):
            tokenizer.save_pretrained(tmp_path / target)
    assert {path.name: path.read_bytes() for path in (tmp_path / "before").iterdir()} == before
    assert not (tmp_path / "new").exists()


def test_a_format_that_cannot_be_had_leaves_no_folder(folder, tmp_path):
    with pytest.raises(ValueError, match="legacy_format=False is for RemBertTokenizerFast"):
        RemBertTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "new", legacy_format=False)
    assert not (tmp_path / "new").exists()
