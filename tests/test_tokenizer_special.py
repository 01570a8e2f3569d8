"""Special tokens by name, and tokens that are added: where 4.34 is wrong, or was not recorded."""

from collections import namedtuple
from itertools import product
from pathlib import Path

import pytest
from tokenizer_models import CONTROL, REMBERT, UNKNOWN, small_model

from minirembert import RemBertTokenizer
from minirembert.tokenization.added_tokens import AddedToken
from minirembert.tokenization.special_tokens import SPECIAL_TOKEN_NAMES

PAD, CLS, UNK, SEP, MASK = range(5)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "sentencepiece.model"
    path.write_bytes(small_model())
    return path


@pytest.fixture
def tokenizer(model) -> RemBertTokenizer:
    return RemBertTokenizer(model)


def test_no_id_is_hard_coded(tmp_path):
    """The same text with the special tokens anywhere in the model."""
    text = "the people[MASK]"
    for first in (REMBERT, REMBERT[::-1], (*REMBERT[2:], *REMBERT[:2]), (("a", CONTROL), *REMBERT)):
        (tmp_path / "x.model").write_bytes(small_model(first))
        tokenizer = RemBertTokenizer(tmp_path / "x.model")
        place = {token: i for i, (token, _) in enumerate(first)}
        row = tokenizer(text, "☃", padding="max_length", max_length=12, return_special_tokens_mask=True)
        words = tokenizer.convert_tokens_to_ids(["▁the", "▁people", "[MASK]"])
        answer = [place["[CLS]"], *words, place["[SEP]"], tokenizer.convert_tokens_to_ids("▁"), place["[UNK]"]]
        assert row.input_ids == [*answer, place["[SEP]"], *[place["[PAD]"]] * 4]
        assert row.special_tokens_mask == [1, 0, 0, 0, 1, 0, 0, 1, 1, 1, 1, 1]
        assert tokenizer.all_special_ids == [place[token] for token in tokenizer.all_special_tokens]


@pytest.mark.parametrize("name", SPECIAL_TOKEN_NAMES)
def test_names_can_be_given_to_other_tokens(tokenizer, name):
    """To any token of the vocabulary, by text or by id, and taken away."""
    for index, token in enumerate(
        ["[PAD]", "[CLS]", "[UNK]", "[SEP]", "[MASK]", *tokenizer.convert_ids_to_tokens([9, 10])]
    ):
        setattr(tokenizer, name, token)
        expected = tokenizer.convert_tokens_to_ids(token)
        assert (getattr(tokenizer, name), getattr(tokenizer, f"{name}_id")) == (token, expected)
        setattr(tokenizer, f"{name}_id", index)
        assert getattr(tokenizer, f"{name}_id") == index
        assert (
            tokenizer.special_tokens_map[name] == tokenizer.convert_ids_to_tokens(index) in tokenizer.all_special_tokens
        )
    setattr(tokenizer, name, None)
    assert getattr(tokenizer, name) is getattr(tokenizer, f"{name}_id") is None
    assert name not in tokenizer.special_tokens_map
    with pytest.raises(ValueError, match=rf"{name}: '<new>' is not in the vocabulary; add_special_tokens adds it"):
        setattr(tokenizer, name, "<new>")
    with pytest.raises(TypeError, match=rf"{name}: a token must be a text or an AddedToken, got int 5"):
        setattr(tokenizer, name, 5)
    with pytest.raises(IndexError, match=r"id 5000 is not in the vocabulary"):
        setattr(tokenizer, f"{name}_id", 5000)
    assert tokenizer.add_special_tokens({name: "<new>"}) == 1
    assert getattr(tokenizer, f"{name}_id") == tokenizer.vocab_size == len(tokenizer) - 1


def test_what_is_not_set_is_not_used(tokenizer):
    tokenizer.pad_token = None
    assert tokenizer.encode("the") == [CLS, tokenizer.convert_tokens_to_ids("▁the"), SEP]
    with pytest.raises(ValueError, match="padding needs a pad_token, and this tokenizer has none"):
        tokenizer("the", padding=True)
    for name in ("cls_token", "sep_token"):
        changed = RemBertTokenizer(tokenizer.vocab_file, **{name: None})
        with pytest.raises(ValueError, match=f"special tokens cannot be added: {name} is not set"):
            changed("the")
        assert changed("the", add_special_tokens=False).input_ids == tokenizer.encode("the", add_special_tokens=False)


def test_adding_tokens(tokenizer):
    size = tokenizer.vocab_size
    assert tokenizer.add_tokens(["<a>", "<b>", "<a>", "", "[MASK]"]) == 2
    assert tokenizer.add_tokens("<c>") == 1
    assert tokenizer.add_tokens([]) == tokenizer.add_tokens("<b>") == 0
    assert tokenizer.add_tokens(AddedToken("<d>", special=True)) == 1
    assert (tokenizer.vocab_size, len(tokenizer)) == (size, size + 4)
    assert tokenizer.convert_ids_to_tokens(range(size, size + 4)) == ["<a>", "<b>", "<c>", "<d>"]
    assert tokenizer.additional_special_tokens == ["<d>"]
    assert tokenizer.tokenize("the<a><c>  <d>the") == ["▁the", "<a>", "<c>", "<d>", "▁the"]
    assert tokenizer.decode([size, MASK, size + 3], skip_special_tokens=True) == "<a>"
    assert len(tokenizer.get_vocab()) == len(tokenizer)
    for wrong in (5, [5], [None], [b"x"]):
        with pytest.raises(TypeError, match="a token must be a text or an AddedToken"):
            tokenizer.add_tokens(wrong)
    with pytest.raises(TypeError, match="a token must be a text, got int 5"):
        AddedToken(5)
    with pytest.raises(IndexError, match=f"id {size + 4} is not in the vocabulary of {size + 4} tokens"):
        tokenizer.decode([size + 4])


def test_tokens_of_other_libraries_are_understood(tokenizer):
    tokenizers = pytest.importorskip("tokenizers", reason="for its AddedToken")
    tokenizer.add_tokens(
        [tokenizers.AddedToken("<t>", lstrip=True, normalized=False), {"content": "<u>", "rstrip": True}]
    )
    Other = namedtuple("Other", "content special")
    tokenizer.add_tokens([Other("<v>", True)])
    flags = [tokenizer.added_tokens_decoder[tokenizer.vocab_size + i] for i in range(3)]
    assert flags == [
        AddedToken("<t>", lstrip=True, normalized=False),
        AddedToken("<u>", rstrip=True),
        AddedToken("<v>", special=True, normalized=False),
    ]


def test_adding_special_tokens(tokenizer):
    """4.34 gives new additional tokens their ids in the order of a set, and keeps those it should replace."""
    size = tokenizer.vocab_size
    many = [f"<{letter}>" for letter in "zyxwvuts"]
    assert tokenizer.add_special_tokens({"additional_special_tokens": many}) == 8
    assert tokenizer.additional_special_tokens_ids == list(range(size, size + 8))
    assert tokenizer.add_special_tokens({"additional_special_tokens": ["<q>", "<z>"], "mask_token": "<q>"}) == 1
    assert tokenizer.additional_special_tokens == ["<q>", "<z>"]
    assert tokenizer.mask_token_id == size + 8
    assert tokenizer.tokenize("<y><q>") == ["<y>", "<q>"]
    assert tokenizer.decode([size + 1, size + 8], skip_special_tokens=True) == "<y>"
    more = {"additional_special_tokens": ["<r>", "<q>"]}
    assert tokenizer.add_special_tokens(more, replace_additional_special_tokens=False) == 1
    assert tokenizer.additional_special_tokens == ["<q>", "<z>", "<r>"]
    tokenizer.additional_special_tokens = ["<z>"]
    assert tokenizer.additional_special_tokens == ["<z>"]
    tokenizer.additional_special_tokens_ids = [MASK, size]
    assert tokenizer.additional_special_tokens == ["[MASK]", "<z>"]
    assert tokenizer.add_special_tokens({}) == 0
    before = (len(tokenizer), tokenizer.special_tokens_map)
    with pytest.raises(ValueError, match="'masc_token' is no special token; there are bos_token, eos_token"):
        tokenizer.add_special_tokens({"pad_token": "<pad>", "masc_token": "<m>"})
    with pytest.raises(TypeError, match="additional_special_tokens must be a list of tokens, got str '<m>'"):
        tokenizer.add_special_tokens({"pad_token": "<pad>", "additional_special_tokens": "<m>"})
    with pytest.raises(ValueError, match="additional_special_tokens: '<m>' is not in the vocabulary"):
        tokenizer.additional_special_tokens = ["<m>"]
    assert (len(tokenizer), tokenizer.special_tokens_map) == before


def test_special_tokens_beyond_the_model_show_when_decoded(model):
    """Those among its pieces are SentencePiece's to decode: control pieces vanish."""
    tokenizer = RemBertTokenizer(model, additional_special_tokens=["<a>", "<b>", "▁people"])
    size, (the, people) = tokenizer.vocab_size, tokenizer.convert_tokens_to_ids(["▁the", "▁people"])
    ids = [CLS, the, size, the, size + 1, people, SEP]
    assert tokenizer.decode(ids) == "the <a> the <b> people"
    assert tokenizer.decode(ids, spaces_between_special_tokens=False) == "the<a>the<b>people"
    assert tokenizer.decode(ids, skip_special_tokens=True) == "the the"


def test_ids_that_a_file_gave_out_leave_gaps(model):
    tokenizer = RemBertTokenizer(model, added_tokens_decoder={2000: AddedToken("<far>"), 1053: AddedToken("<near>")})
    assert tokenizer.vocab_size == 1052
    assert tokenizer.add_tokens(["<a>", "<b>"]) == 2
    assert tokenizer.convert_tokens_to_ids(["<far>", "<near>", "<a>", "<b>"]) == [2000, 1053, 1054, 1055]
    for size in (999, 2000):
        tokenizer = RemBertTokenizer(model, added_tokens_decoder={i: f"<{i}>" for i in range(1052, 1052 + size)})
        assert tokenizer.add_tokens("<new>") == 1
        assert tokenizer.convert_tokens_to_ids("<new>") == 1052 + size


def test_a_piece_may_be_renamed_by_a_file(model):
    """As in 4.34: unused pieces are often given a use this way."""
    tokenizer = RemBertTokenizer(model, added_tokens_decoder={700: AddedToken("<tag>", special=True)})
    assert len(tokenizer) == tokenizer.vocab_size == len(tokenizer.get_vocab())
    assert tokenizer.encode("<tag>") == [CLS, 700, SEP]
    assert tokenizer.convert_ids_to_tokens(700) == "<tag>"


def test_the_flags_of_a_token_decide_about_the_space_around_it(model):
    """White space that SentencePiece keeps shows it: U+0085 is a character to it, and a space to Python."""
    x, tab = "<x>", "\x85"
    for left, right in product([False, True], [False, True]):
        tokenizer = RemBertTokenizer(model, additional_special_tokens=[AddedToken(x, lstrip=left, rstrip=right)])
        edge = ["▁", tab]
        assert tokenizer.tokenize(tab + x + tab) == [*([] if left else edge), x, *([] if right else edge)]
        assert tokenizer.tokenize(f"{x}the{tab}{x}") == [x, *tokenizer.tokenize("the" if left else "the" + tab), x]
    word = RemBertTokenizer(model, additional_special_tokens=[AddedToken(x, single_word=True)])
    assert word.tokenize(f"the {x} the") == ["▁the", x, "▁the"]
    for text in (f"the{x} the", f"the {x}the", f"the\t{x}", f"{x}[MASK]"):
        assert x not in word.tokenize(text), text
    assert word.tokenize(x) == [x]


def test_sizes_of_the_vocabulary(tmp_path):
    """A model without any special piece but the unknown one: the others are appended once each, in the order of names."""
    (tmp_path / "x.model").write_bytes(small_model((("<unk>", UNKNOWN),)))
    tokenizer = RemBertTokenizer(tmp_path / "x.model")
    size = tokenizer.vocab_size
    appended = ["[CLS]", "[SEP]", "[UNK]", "[PAD]", "[MASK]"]
    assert tokenizer.all_special_tokens == appended
    assert tokenizer.all_special_ids == list(range(size, size + 5))
    assert len(tokenizer) == size + 5
    snowman = tokenizer("☃", add_special_tokens=False).input_ids
    assert snowman[-1] == 0  # the model's own unknown token, as in 4.34, though unk_token_id is another
    assert tokenizer.unk_token_id == size + 2
