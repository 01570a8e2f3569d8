"""The settings of either tokenizer, the options of a call and the flags of a token: each alone, and what it does."""

import functools
import inspect
import logging
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from cases import Case, Changes, ChangesNothing, Settings
from tokenizer_models import small_model

from minirembert import RemBertTokenizer, RemBertTokenizerFast
from minirembert.tokenization.added_tokens import AddedToken
from minirembert.tokenization.options import Options

Tokenizer = RemBertTokenizer | RemBertTokenizerFast
SANE: dict[str, Any] = {"do_lower_case": False, "keep_accents": True, "unk_token": "[UNK]", "pad_token": "[PAD]"}
SIZE = 1052  # of the model: the id of the first token that is added
CLS, UNK, SEP, MASK = 1, 2, 3, 4

_keep: list[Any] = []


@functools.cache
def files() -> Path:
    """A folder with two models, the second of few pieces, and a tokenizer.json that lowers its texts."""
    _keep.append(tempfile.TemporaryDirectory())
    folder = Path(_keep[-1].name)
    (folder / "a.model").write_bytes(small_model())
    (folder / "few.model").write_bytes(small_model(parts=10))
    RemBertTokenizer(folder / "a.model", do_lower_case=True).save_pretrained(folder)
    return folder


# --- constructors ---------------------------------------------------------------------------------------------------------


class Made:
    """A tokenizer, and what it makes of texts: two are equal where that is."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.it = tokenizer

    def tokens(self, *texts: str, **asked: Any) -> list[str]:
        return self.it.convert_ids_to_tokens(self.it(*texts, **asked).input_ids)

    @property
    def answers(self) -> Any:
        texts = ["the people", "  Th\u00e9   PEOPLE ", "the[MASK] .", "\u2603"]
        rows = self.it(texts, padding=True, return_special_tokens_mask=True)
        pair = self.it("the people", "the", truncation=True, max_length=5)
        return dict(rows), dict(pair), self.it.batch_decode(rows.input_ids), self.it.get_vocab()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Made) and self.answers == other.answers

    __hash__ = None  # type: ignore[assignment]


def run(kind: type, usual: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], Made]:
    def made(changed: Mapping[str, Any]) -> Made:
        settings = {"vocab_file": "a.model", **usual, **changed}
        for name in settings.keys() & {"vocab_file", "tokenizer_file"}:
            settings[name] = files() / settings[name]
        return Made(kind(**settings))

    return made


def renames(name: str) -> Changes:
    """A token by that name, of which texts know nothing."""

    def how(before: Made, after: Made) -> bool:
        names = after.it.special_tokens_map
        return names == before.it.special_tokens_map | {name: "[MASK]"} and getattr(after.it, f"{name}_id") == MASK

    return Changes("[MASK]", lambda a, b: how(a, b) and a == b)


def found(special: bool) -> Callable[[Made, Made], bool]:
    """ "<x>" is a token, the first that is added."""

    def how(before: Made, after: Made) -> bool:
        there = [made.it.encode("the<x>")[2] == SIZE for made in (before, after)]
        return there == [False, True] and ("<x>" in after.it.all_special_tokens) is special

    return how


def around(*tokens: str) -> Callable[[Made, Made], bool]:
    usual = ["[CLS]", "▁the", "[SEP]", "▁people", "[SEP]"]
    return lambda a, b: a.tokens("the", "people") == usual and b.tokens("the", "people") == list(tokens)


BOTH: dict[str, Case | tuple[Case, ...]] = {
    "vocab_file": Changes(
        "few.model", lambda a, b: "▁people" in a.tokens("people") and "▁people" not in b.it.get_vocab()
    ),
    "do_lower_case": Changes(True, lambda a, b: b.tokens("THE") == a.tokens("the") != a.tokens("THE")),
    "remove_space": ChangesNothing(False, "it is stored and saved only"),
    "bos_token": renames("bos_token"),
    "eos_token": renames("eos_token"),
    "unk_token": Changes(
        "[MASK]",
        lambda a, b: (a.it.unk_token_id, b.it.unk_token_id) == (UNK, MASK) and b.tokens("\u2603") == a.tokens("\u2603")
        and (a.it.decode([UNK], True) == "" != b.it.decode([UNK], True)),  # no special token any more
    ),
    "sep_token": Changes("[MASK]", around("[CLS]", "▁the", "[MASK]", "▁people", "[MASK]")),
    "pad_token": Changes(
        "[MASK]",
        lambda a, b: [made.tokens("the", padding="max_length", max_length=5)[3:] for made in (a, b)]
        == [["[PAD]"] * 2, ["[MASK]"] * 2],
    ),
    "cls_token": Changes("[MASK]", around("[MASK]", "▁the", "[SEP]", "▁people", "[SEP]")),
    "mask_token": Changes(
        "<m>", lambda a, b: (a.it.mask_token_id, b.it.mask_token_id) == (MASK, SIZE) and b.it.encode("<m>")[1] == SIZE
    ),
    "additional_special_tokens": Changes(("<x>",), found(special=True)),
    "added_tokens_decoder": Changes({SIZE: AddedToken("<x>")}, found(special=False)),
    "model_max_length": Changes(
        4, lambda a, b: [len(made.it.encode("the " * 9, truncation=True)) for made in (a, b)] == [11, 4]
    ),
    "padding_side": Changes(
        "left",
        lambda a, b: [made.tokens("the", padding="max_length", max_length=4) for made in (a, b)]
        == [["[CLS]", "▁the", "[SEP]", "[PAD]"], ["[PAD]", "[CLS]", "▁the", "[SEP]"]],
    ),
    "truncation_side": Changes(
        "left",
        lambda a, b: [made.tokens("the people", truncation=True, max_length=3)[1] for made in (a, b)]
        == ["▁the", "▁people"],
    ),
    "model_input_names": Changes(
        ("input_ids", "attention_mask"),
        lambda a, b: [list(made.it("the")) for made in (a, b)]
        == [["input_ids", "token_type_ids", "attention_mask"], ["input_ids", "attention_mask"]],
    ),
    "clean_up_tokenization_spaces": Changes(
        False, lambda a, b: [made.it.decode(made.it.encode("the .", add_special_tokens=False)) for made in (a, b)]
        == ["the.", "the ."],
    ),
    "split_special_tokens": Changes(
        True, lambda a, b: [SIZE in made.it.encode("the net") for made in (a, b)] == [True, False],
        {"additional_special_tokens": ("net",)},
    ),
}  # fmt: skip
SLOW_CASES = {**BOTH, "keep_accents": ChangesNothing(False, "the model's own normalisation decides")}
FAST_CASES = {
    **BOTH,
    "keep_accents": Changes(False, lambda a, b: b.tokens("th\u00e9") == a.tokens("the") != a.tokens("th\u00e9")),
    "tokenizer_file": Changes("tokenizer.json", lambda a, b: b.tokens("THE") == a.tokens("the") != a.tokens("THE")),
}


# --- calls ----------------------------------------------------------------------------------------------------------------


@functools.cache
def tokenizers() -> dict[str, Tokenizer]:
    """Without a limit of their own. Each word of TEXTS is one token, the last a special one that is no piece."""
    path, special = files() / "a.model", ["net"]
    return {
        "slow": RemBertTokenizer(path, additional_special_tokens=special),
        "fast": RemBertTokenizerFast(path, additional_special_tokens=special, **SANE),
    }


TEXTS = ["the people the united", "the net"]
WORD = {word: f"▁{word}" for word in ("the", "people", "united")}


def run_call(changed: Mapping[str, Any]) -> dict[str, Any]:
    """What either returns for TEXTS, "slow" and "fast", and how many warnings were logged."""
    outcome: dict[str, Any] = {"warnings": 0}

    class Counting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            outcome["warnings"] += 1

    handler, logger = Counting(), logging.getLogger("minirembert.tokenization")
    logger.addHandler(handler)
    try:
        for name, tokenizer in tokenizers().items():
            tokenizer._warned.clear()
            asked = {k: v for k, v in changed.items() if name == "fast" or k != "return_offsets_mapping"}
            outcome[name] = tokenizer(TEXTS, **asked)
    finally:
        logger.removeHandler(handler)
    return outcome


@functools.cache
def ids(*tokens: str) -> list[int]:
    return tokenizers()["slow"].convert_tokens_to_ids([WORD.get(token, token) for token in tokens])


LONG, SHORT = ("[CLS]", "the", "people", "the", "united", "[SEP]"), ("[CLS]", "the", "net", "[SEP]")
PADS = ("[PAD]", "[PAD]", "[PAD]", "[PAD]")


def rows(*expected: tuple[str, ...]) -> Callable[[Any, Any], bool]:
    """Both tokenizers return these, and returned others before."""

    def how(before: Any, after: Any) -> bool:
        wanted = [ids(*row) for row in expected]
        return all(np.asarray(before[n].input_ids, object).tolist() != wanted for n in tokenizers()) and all(
            [list(row) for row in after[n].input_ids] == wanted for n in tokenizers()
        )

    return how


def lists(name: str, expected: Any, before: bool = False) -> Callable[[Any, Any], bool]:
    """Both return this list; `before`: they did, and do not any more."""

    def how(was: Any, now: Any) -> bool:
        with_it, without = (was, now) if before else (now, was)
        return all(name not in without[n] and with_it[n][name] == expected for n in tokenizers())

    return how


def overflow(slow: list[tuple[str, ...]], fast: list[tuple[str, ...]]) -> Callable[[Any, Any], bool]:
    """The slow one returns what was cut off as lists, the fast one as more rows."""
    return lambda a, b: (
        b["slow"]["overflowing_tokens"] == [ids(*row) for row in slow]
        and [row[1:-1] for row in b["fast"].input_ids] == [ids(*row) for row in fast]
    )


CUT: dict[str, Any] = {"truncation": True, "max_length": 4}
CALL_CASES: dict[str, Case | tuple[Case, ...]] = {
    "padding": (
        Changes(True, rows(LONG, SHORT + PADS[:2])),
        Changes("max_length", rows(LONG + PADS[:2], SHORT + PADS), {"max_length": 8}),
    ),
    "truncation": (
        Changes(False, rows(LONG, SHORT), {"max_length": 4}),
        # The same rows as without it, but no warning that max_length alone cuts.
        Changes(
            "only_first",
            lambda a, b: (a["warnings"], b["warnings"]) == (2, 0) and all(a[n] == b[n] for n in tokenizers()),
            {"max_length": 4},
        ),
    ),
    "max_length": Changes(4, rows(LONG[:3] + LONG[-1:], SHORT), {"truncation": True}),
    "return_token_type_ids": Changes(False, lists("token_type_ids", [[0] * 6, [0] * 4], before=True)),
    "return_attention_mask": Changes(False, lists("attention_mask", [[1] * 6, [1] * 4], before=True)),
    "split_special_tokens": Changes(
        True, lambda a, b: all(SIZE in a[n].input_ids[1] and SIZE not in b[n].input_ids[1] for n in tokenizers())
    ),
    "add_special_tokens": Changes(False, rows(LONG[1:-1], SHORT[1:-1])),
    "stride": Changes(
        1,
        overflow([("people", "the", "united"), ()],
                 [("the", "people"), ("people", "the"), ("the", "united"), ("the", "net")]),
        {**CUT, "return_overflowing_tokens": True},
    ),
    "is_split_into_words": Changes(
        True,
        lambda a, b: all(
            b[n].input_ids == ids(*LONG[:-1], *SHORT[1:]) and b[n].word_ids() == [None, 0, 0, 0, 0, 1, 1, None]
            for n in tokenizers()
        ),
    ),
    "pad_to_multiple_of": Changes(4, rows(LONG + PADS[:2], SHORT + PADS), {"padding": True}),
    "return_tensors": Changes(
        "np",
        lambda a, b: all(
            isinstance(b[n][k], np.ndarray) and b[n][k].tolist() == a[n][k] for n in tokenizers() for k in a[n]
        ),
        {"padding": True},
    ),
    "return_overflowing_tokens": Changes(
        True, overflow([("the", "united"), ()], [("the", "people"), ("the", "united"), ("the", "net")]), CUT
    ),
    "return_special_tokens_mask": Changes(True, lists("special_tokens_mask", [[1, 0, 0, 0, 0, 1], [1, 0, 0, 1]])),
    "return_offsets_mapping": Changes(
        True,
        lambda a, b: b["fast"]["offset_mapping"]
        == [[(0, 0), (0, 3), (3, 10), (10, 14), (14, 21), (0, 0)], [(0, 0), (0, 3), (4, 7), (0, 0)]],
    ),
    "return_length": Changes(True, lists("length", [6, 4])),
    "verbose": Changes(False, lambda a, b: (a["warnings"], b["warnings"]) == (2, 0), {"max_length": 4}),
}  # fmt: skip


# --- tokens ---------------------------------------------------------------------------------------------------------------


def run_token(changed: Mapping[str, Any]) -> dict[str, Any]:
    """Tokenizers with such a token, the third of which lowers its texts; "flags": what the library was told."""
    token = AddedToken(**{"content": "NET", **changed})
    path = files() / "a.model"
    made: dict[str, Any] = {
        "slow": RemBertTokenizer(path), "fast": RemBertTokenizerFast(path, **SANE),
        "lower": RemBertTokenizer(path, do_lower_case=True),
    }  # fmt: skip
    for tokenizer in made.values():
        tokenizer.add_tokens([token])
    theirs = made["fast"].backend_tokenizer.get_added_tokens_decoder()[SIZE]
    flags = {name: getattr(theirs, name) for name in ("content", "single_word", "lstrip", "rstrip", "special")}
    return {**made, "flags": flags}


def told(name: str, to: Any, how: Callable[[Any, Any], bool]) -> Changes:
    """The library was told this and nothing else, and `how` holds."""
    return Changes(to, lambda a, b: b["flags"] == a["flags"] | {name: to} and how(a, b))


def sees(text: str) -> Callable[[Any, Any], bool]:
    """The token is in the text no more."""
    return lambda a, b: all(
        (
            a[n].convert_ids_to_tokens(SIZE) in a[n].tokenize(text),
            b[n].convert_ids_to_tokens(SIZE) in b[n].tokenize(text),
        )
        == (True, False)
        for n in ("slow", "fast")
    )


NEL = "\x85"  # white space to Python, a character to SentencePiece
TOKEN_CASES: dict[str, Case | tuple[Case, ...]] = {
    "content": told("content", "TEN", lambda a, b: sees("theNET")(a, b) and sees("theTEN")(b, a)),
    "single_word": told("single_word", True, sees("theNET")),
    "lstrip": told(
        "lstrip", True,
        lambda a, b: (NEL in a["slow"].tokenize(f"{NEL}NET"), b["slow"].tokenize(f"{NEL}NET")) == (True, ["NET"]),
    ),
    "rstrip": told(
        "rstrip", True,
        lambda a, b: (NEL in a["slow"].tokenize(f"NET{NEL}"), b["slow"].tokenize(f"NET{NEL}")) == (True, ["NET"]),
    ),
    "normalized": Changes(
        False,
        lambda a, b: [made["lower"].convert_ids_to_tokens(SIZE) for made in (a, b)] == ["net", "NET"]
        and a["slow"].tokenize("theNET") == b["slow"].tokenize("theNET"),
    ),
    "special": told(
        "special", True,
        lambda a, b: all(
            [made[n].decode([CLS, SIZE, SEP], skip_special_tokens=True) for made in (a, b)] == ["NET", ""]
            and b[n].additional_special_tokens == ["NET"]
            for n in ("slow", "fast")
        ),
    ),
}  # fmt: skip


def _arguments(kind: type) -> tuple[str, ...]:
    return tuple(inspect.signature(kind).parameters)


SETTINGS = [
    Settings(RemBertTokenizer, _arguments(RemBertTokenizer), run(RemBertTokenizer, {}), SLOW_CASES),
    Settings(RemBertTokenizerFast, _arguments(RemBertTokenizerFast), run(RemBertTokenizerFast, SANE), FAST_CASES),
    Settings(Options, tuple(Options.__dataclass_fields__), run_call, CALL_CASES),
    Settings(AddedToken, tuple(AddedToken.__dataclass_fields__), run_token, TOKEN_CASES),
]
COMMANDS: dict[str, type] = {}
OPTIONS: dict[str, str] = {}
NO_SETTINGS: dict[str, str] = {}
