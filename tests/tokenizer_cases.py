"""Calls of a slow tokenizer, and what transformers 4.34 answers: `python tests/tokenizer_cases.py` writes the answers down.

It takes an environment with transformers 4.34.0 and sentencepiece (no PyTorch, no minirembert) and makes
`tests/data/tokenizer_slow_4.34.json`: for each case the tokenizer's number, the call and the answer, and for each tokenizer
the JSON files it is saved in. `test_tokenizer_recorded.py` makes the same calls of ours.
"""

import json
import random
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from strings import SPECIALS, WORDS, generated_strings
from tokenizer_models import CONTROL, NORMAL, REMBERT, UNKNOWN, small_model

FILE = Path(__file__).parent / "data" / "tokenizer_slow_4.34.json"

# Where the special tokens stand: as RemBERT's own; in another order; under other names; nowhere, but for the unknown one.
MODELS = {
    "rembert": REMBERT,
    "reordered": (("[CLS]", CONTROL), ("[PAD]", CONTROL), ("[MASK]", NORMAL), ("[SEP]", CONTROL), ("[UNK]", UNKNOWN)),
    "renamed": (("<pad>", CONTROL), ("<unk>", UNKNOWN), ("<cls>", CONTROL), ("<sep>", CONTROL), ("<mask>", NORMAL)),
    "bare": (("<unk>", UNKNOWN),),
}
NAMES = {"bos": "cls", "eos": "sep", "unk": "unk", "sep": "sep", "pad": "pad", "cls": "cls", "mask": "mask"}
RENAMED = {f"{name}_token": f"<{token}>" for name, token in NAMES.items()}

FLAGGED = [
    {"content": "<left>", "lstrip": True},
    {"content": "<right>", "rstrip": True},
    {"content": "<word>", "single_word": True},
    {"content": "<all>", "lstrip": True, "rstrip": True, "single_word": True, "normalized": False},
    {"content": "Upper", "normalized": True},
    {"content": "UPPER", "normalized": False},
    {"content": "people", "special": True},  # a piece, but for the space in front
]
STEPS = {
    "nothing": [],
    "plain": [["add_tokens", [["new", "newer", "<x>", " y "]], {}], ["add_tokens", ["[MASK"], {}]],
    "flagged": [["add_tokens", [[{"__token__": flags} for flags in FLAGGED]], {}]],
    "special": [
        ["add_special_tokens", [{"mask_token": "<mask>", "pad_token": "[SEP]"}], {}],
        ["add_special_tokens", [{"additional_special_tokens": ["<x>"]}], {}],
        ["add_tokens", [["<z>", "new"]], {"special_tokens": True}],
        ["__setattr__", ["eos_token", "[PAD]"], {}],
    ],
}
TOKENIZERS: list[tuple[str, dict[str, Any], str]] = [
    ("rembert", {}, "nothing"),
    ("rembert", {}, "plain"),
    ("rembert", {}, "flagged"),
    ("rembert", {}, "special"),
    ("rembert", {"do_lower_case": True}, "nothing"),
    ("rembert", {"do_lower_case": True}, "flagged"),
    ("rembert", {"split_special_tokens": True}, "flagged"),
    ("rembert", {"remove_space": False, "keep_accents": False, "clean_up_tokenization_spaces": False}, "nothing"),
    ("rembert", {"additional_special_tokens": ["<x>", {"__token__": {"content": "<y>", "lstrip": True}}]}, "plain"),
    ("rembert", {"padding_side": "left", "truncation_side": "left", "model_max_length": 11}, "nothing"),
    ("rembert", {"model_input_names": ["input_ids", "attention_mask"]}, "nothing"),
    ("reordered", {}, "nothing"),
    ("renamed", RENAMED, "flagged"),
    ("bare", {}, "nothing"),
    ("bare", {"do_lower_case": True}, "plain"),
]
ATTRIBUTES = [
    "special_tokens_map", "all_special_tokens", "all_special_ids", "additional_special_tokens", "additional_special_tokens_ids",
    "added_tokens_encoder", "added_tokens_decoder", "vocab_size", "max_len_single_sentence", "max_len_sentences_pair",
    "model_max_length", "model_input_names", "padding_side", "truncation_side", "is_fast", "pad_token_type_id",
    *(f"{name}_token" for name in NAMES), *(f"{name}_token_id" for name in NAMES),
]  # fmt: skip


class Case(NamedTuple):
    """A call, in a form that JSON can hold."""

    tokenizer: int
    method: str
    arguments: list[Any]
    options: dict[str, Any]
    answer: Any = None


def all_cases(seed: int = 0) -> list[Case]:
    """The calls, without answers."""
    rng = random.Random(seed)
    cases: list[Case] = []

    def add(number: int, method: str, *arguments: Any, **options: Any) -> None:
        cases.append(Case(number, method, list(arguments), options))

    words = [word for text in WORDS.values() for word in text.split(" ")]
    added = [
        "<x>",
        "new",
        "newer",
        " y ",
        "[MASK",
        *(flags["content"] for flags in FLAGGED),
        "<mask>",
        "<cls>",
        "<z>",
        *SPECIALS,
    ]
    for number, (model, _, _) in enumerate(TOKENIZERS):
        for name in ATTRIBUTES:
            add(number, "__getattribute__", name)
        add(number, "__len__")
        add(number, "get_added_vocab")
        size = len(MODELS[model])
        texts = generated_strings(400, seed=number, specials=added)[-22:]
        for _ in range(22):
            joint = rng.choice(["", " ", "  ", "\t", "\x85"])
            texts.append(
                joint.join(rng.choices([*added, *added, *words, " ", ".", "[", "PEOPLE"], k=rng.randint(1, 7)))
            )
        for text in texts:
            add(number, *rng.choice([("tokenize", text), ("encode", text)]))
            if rng.random() < 0.3:
                ids = [rng.randrange(20 * size) for _ in range(rng.randint(0, 8))] + rng.choices(range(size), k=3)
                options = {
                    "skip_special_tokens": rng.random() < 0.5,
                    "spaces_between_special_tokens": rng.random() < 0.5,
                }
                options |= rng.choice([{}, {"clean_up_tokenization_spaces": rng.random() < 0.5}])
                add(number, "decode", {"__ids__": text}, **options)
                add(number, "decode", ids, **options)
                add(number, "convert_ids_to_tokens", ids, skip_special_tokens=rng.random() < 0.5)
                add(number, "convert_tokens_to_ids", [*rng.choices(added, k=3), "", "no piece", "▁"])
        for _ in range(20 if number in (0, 9) else 4):
            _add_calls(rng, number, words, add)
    return cases


def _add_calls(rng: random.Random, number: int, words: list[str], add: Any) -> None:
    def text() -> str:
        return " ".join(rng.choices(words, k=rng.randint(0, 5)))

    def ids() -> list[int]:
        return [rng.randrange(5, 900) for _ in range(rng.randint(0, 9))]

    options: dict[str, Any] = {}
    likely = {
        "add_special_tokens": [True, True, False], "padding": [False, True, "longest", "max_length", "do_not_pad"],
        "truncation": [None, True, False, "longest_first", "only_first", "only_second", "do_not_truncate"],
        "max_length": [None, 3, 5, 8, 12, 40], "stride": [0, 1, 3], "pad_to_multiple_of": [None, None, 4, 5],
        "return_token_type_ids": [None, None, True, False], "return_attention_mask": [None, None, True, False],
        "return_overflowing_tokens": [False, False, True], "return_special_tokens_mask": [False, True],
        "return_length": [False, True], "return_tensors": [None, None, None, "np"], "verbose": [True, False],
    }  # fmt: skip
    for name, values in likely.items():
        if rng.random() < 0.45:
            options[name] = rng.choice(values)
    both = rng.random() < 0.5
    add(number, "__call__", text(), text() if both else None, **options)
    count = rng.randint(1, 4)
    batch = [text() for _ in range(count)]
    add(number, "__call__", batch, [text() for _ in range(count)] if both else None, **options)
    add(number, "batch_encode_plus", [[text(), text()] for _ in range(count)], **options)
    add(number, "encode", text().split(" "), text().split(" ") if both else None, **options)
    add(number, "encode_plus", ids() or [7], ids() or [8], **options)
    row = [rng.choices([*words, " ", "[MASK]"], k=rng.randint(1, 4)) for _ in range(count)]
    add(number, "__call__", row, is_split_into_words=True, **options)
    add(number, "__call__", row[0], row[-1] if both else None, is_split_into_words=True, **options)
    axis = {"prepend_batch_axis": True} if rng.random() < 0.5 else {}
    add(number, "prepare_for_model", ids(), ids() if both else None, **options, **axis)
    cut = {"truncation_strategy": rng.choice(["longest_first", "only_first", "only_second", "do_not_truncate"])}
    second = ids() if both else None
    add(
        number,
        "truncate_sequences",
        ids(),
        second,
        num_tokens_to_remove=rng.randrange(12),
        stride=rng.randrange(4),
        **cut,
    )
    padding = {
        name: options[name]
        for name in ("padding", "max_length", "pad_to_multiple_of", "return_tensors")
        if name in options
    }
    add(number, "pad", {"input_ids": ids()}, **padding)
    rows = [ids() for _ in range(count)]
    types = [[1] * len(row) for row in rows]
    add(number, "pad", {"input_ids": rows, "token_type_ids": types, "special_tokens_mask": types}, **padding)
    add(number, "pad", [{"input_ids": row, "attention_mask": [1] * len(row), "labels": 3} for row in rows], **padding)
    add(number, "build_inputs_with_special_tokens", ids(), second)
    add(number, "create_token_type_ids_from_sequences", ids(), second)
    add(number, "get_special_tokens_mask", ids(), second, already_has_special_tokens=rng.random() < 0.3)
    add(number, "num_special_tokens_to_add", pair=both)


def make(number: int, tokenizer_class: Any, token_class: Any, folder: Path) -> Any:
    """The tokenizer of that number, with its steps taken. `folder` gets the model's file."""
    model, arguments, steps = TOKENIZERS[number]
    path = folder / f"{model}.model"
    if not path.exists():
        path.write_bytes(small_model(MODELS[model]))
    tokenizer = tokenizer_class(str(path), **from_json(arguments, token_class))
    for method, values, options in STEPS[steps]:
        getattr(tokenizer, method)(*from_json(values, token_class), **options)
    return tokenizer


def ask(tokenizer: Any, case: Case) -> Any:
    """What a tokenizer answers, in a form that JSON can hold; {"error": the kind of error} where it raises one."""
    arguments = case.arguments
    if arguments and isinstance(arguments[0], dict) and "__ids__" in arguments[0]:
        arguments = [tokenizer.encode(arguments[0]["__ids__"])]
    try:
        return to_json(getattr(tokenizer, case.method)(*arguments, **case.options))
    except Exception as error:
        return {"error": type(error).__name__}


def saved_files(tokenizer: Any, folder: Path) -> dict[str, Any]:
    """The JSON files of `save_pretrained` by name."""
    tokenizer.save_pretrained(str(folder))
    return {path.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def to_json(value: Any) -> Any:
    """Arrays as {"array": lists}, or as "ragged" where they are arrays of objects; tokens as their flags."""
    if hasattr(value, "tolist"):
        return "ragged" if value.dtype == object else {"array": value.tolist()}
    if hasattr(value, "single_word"):
        names = ("content", "lstrip", "rstrip", "single_word", "normalized", "special")
        return {name: getattr(value, name) for name in names}
    if hasattr(value, "items"):
        return {str(name): to_json(item) for name, item in value.items()}
    return [to_json(item) for item in value] if isinstance(value, list | tuple) else value


def from_json(value: Any, token_class: Any) -> Any:
    """Makes tokens of {"__token__": flags}."""
    if isinstance(value, dict):
        if "__token__" in value:
            return token_class(**value["__token__"])
        return {name: from_json(item, token_class) for name, item in value.items()}
    return [from_json(item, token_class) for item in value] if isinstance(value, list) else value


def record() -> None:
    """Asks the installed transformers and writes `FILE`."""
    import sentencepiece
    import transformers

    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    with tempfile.TemporaryDirectory() as scratch:
        tokenizers = [
            make(i, transformers.RemBertTokenizer, transformers.AddedToken, Path(scratch))
            for i in range(len(TOKENIZERS))
        ]
        cases = [case._replace(answer=ask(tokenizers[case.tokenizer], case)) for case in all_cases()]
        folders = [saved_files(tokenizer, Path(scratch) / str(i)) for i, tokenizer in enumerate(tokenizers)]
    parts = {
        "versions": {"transformers": transformers.__version__, "sentencepiece": sentencepiece.__version__},
        "cases": cases,
        "folders": folders,
    }
    lines = [f"{json.dumps(name)}: {_lines(part)}" for name, part in parts.items()]
    FILE.write_text("{" + ",\n".join(lines) + "}\n", encoding="utf-8")
    print(f"{len(cases)} cases, {FILE.stat().st_size:,} bytes")


def _lines(part: Any) -> str:
    """JSON with one entry of a list in a line, so that a change shows."""
    if isinstance(part, dict):
        return json.dumps(part)
    return "[\n" + ",\n".join(json.dumps(item, ensure_ascii=False) for item in part) + "\n]"


if __name__ == "__main__":
    record()
