"""Calls of a fast tokenizer, and what transformers 4.34 answers: `python tests/tokenizer_fast_cases.py` writes them down.

It takes an environment with transformers 4.34.0, sentencepiece and protobuf (no PyTorch, no minirembert) and makes
`tests/data/tokenizer_fast_4.34.json`: for each case the tokenizer's number, the call and the answer.
`test_tokenizer_fast_recorded.py` makes the same calls of ours, on the pipeline that transformers 4.34 makes of a model.
"""

import json
import random
import tempfile
from pathlib import Path
from typing import Any

from strings import WORDS, generated_strings
from tokenizer_cases import MODELS, Case, from_json, to_json
from tokenizer_models import small_model

FILE = Path(__file__).parent / "data" / "tokenizer_fast_4.34.json"

SANE = {"do_lower_case": False, "keep_accents": True, "unk_token": "[UNK]", "pad_token": "[PAD]"}
PLAIN_MASK = {"mask_token": {"__token__": {"content": "[MASK]", "special": True, "normalized": False}}}
STEPS = {
    "nothing": [],
    "added": [
        ["add_tokens", [["new", "newer", "<x>"]], {}],
        ["add_tokens", [{"__token__": {"content": "<left>", "lstrip": True, "normalized": False}}], {}],
        ["add_special_tokens", [{"additional_special_tokens": ["<y>"]}], {}],
        ["add_special_tokens", [{"mask_token": "<mask>"}], {}],
    ],
}
TOKENIZERS: list[tuple[str, dict[str, Any], str]] = [
    ("rembert", {**SANE, **PLAIN_MASK}, "nothing"),
    ("rembert", {**SANE, **PLAIN_MASK}, "added"),
    ("rembert", {**SANE, **PLAIN_MASK, "padding_side": "left", "truncation_side": "left"}, "nothing"),
    ("rembert", {**SANE, **PLAIN_MASK, "model_max_length": 11}, "nothing"),
    ("rembert", {"unk_token": "[UNK]", "pad_token": "[PAD]", **PLAIN_MASK}, "nothing"),
    ("reordered", {**SANE, **PLAIN_MASK}, "nothing"),
]
METHODS = ("token_to_chars", "token_to_word", "token_to_sequence")
BY_SIDE = ("word_to_tokens", "word_to_chars", "char_to_token", "char_to_word")


def all_cases(seed: int = 0) -> list[Case]:
    """The calls, without answers."""
    rng = random.Random(seed)
    cases: list[Case] = []

    def add(number: int, method: str, *arguments: Any, **options: Any) -> None:
        cases.append(Case(number, method, list(arguments), options))

    words = [word for text in WORDS.values() for word in text.split(" ")]
    for number, (model, _, steps) in enumerate(TOKENIZERS):
        specials = [text for text, _ in MODELS[model]] + (["new", "newer", "<x>", "<left>"] if steps == "added" else [])
        for name in ("vocab_size", "is_fast", "all_special_tokens", "all_special_ids", "special_tokens_map"):
            add(number, "__getattribute__", name)
        add(number, "__len__")
        add(number, "get_added_vocab")
        for pair in (False, True):
            add(number, "num_special_tokens_to_add", pair=pair)
        for text in generated_strings(400, seed=number, specials=specials)[-16:]:
            add(number, "tokenize", text)
            add(number, "look", text, return_offsets_mapping=True, return_special_tokens_mask=True)
            ids = [rng.randrange(200) for _ in range(rng.randint(0, 8))]
            options = {"skip_special_tokens": rng.random() < 0.5, "clean_up_tokenization_spaces": rng.random() < 0.5}
            add(number, "decode", ids, **options)
            add(number, "convert_ids_to_tokens", ids, skip_special_tokens=rng.random() < 0.5)
        for _ in range(15 if number in (0, 2) else 5):
            _add_calls(rng, number, words, add)
    return cases


def _add_calls(rng: random.Random, number: int, words: list[str], add: Any) -> None:
    def text() -> str:
        return " ".join(rng.choices(words, k=rng.randint(1, 5)))

    likely = {
        "add_special_tokens": [True, True, False], "padding": [False, True, "longest", "max_length", "do_not_pad"],
        "truncation": [None, True, False, "longest_first", "only_first", "only_second", "do_not_truncate"],
        "max_length": [None, 5, 8, 12, 40], "stride": [0, 1], "pad_to_multiple_of": [None, None, 4],
        "return_token_type_ids": [None, None, True, False], "return_attention_mask": [None, None, True, False],
        "return_overflowing_tokens": [False, True], "return_special_tokens_mask": [False, True],
        "return_offsets_mapping": [False, True], "return_length": [False, True],
    }  # fmt: skip
    options = {name: rng.choice(values) for name, values in likely.items() if rng.random() < 0.5}
    both = rng.random() < 0.5
    count = rng.randint(1, 3)
    batch = [text() for _ in range(count)]
    add(number, "look", text(), text() if both else None, **options)
    add(number, "look", batch, [text() for _ in range(count)] if both else None, **options)
    add(number, "look", [[text(), text()] for _ in range(count)], **options)
    rows = [rng.choices([*words, "[MASK]"], k=rng.randint(1, 4)) for _ in range(count)]
    add(number, "look", rows, is_split_into_words=True, **options)
    add(number, "look", rows[0], rows[-1] if both else None, is_split_into_words=True, **options)
    add(number, "encode", text(), text() if both else None, **{**options, "return_overflowing_tokens": False})


def make(number: int, tokenizer_class: Any, token_class: Any, make_files: Any, folder: Path) -> Any:
    """The tokenizer of that number, with its steps taken. `make_files` gives its constructor's files."""
    model, arguments, steps = TOKENIZERS[number]
    path = folder / f"{model}.model"
    if not path.exists():
        path.write_bytes(small_model(MODELS[model]))
    settings = from_json(arguments, token_class)
    tokenizer = tokenizer_class(**make_files(path, settings), **settings)
    for method, values, options in STEPS[steps]:
        getattr(tokenizer, method)(*from_json(values, token_class), **options)
    return tokenizer


def ask(tokenizer: Any, case: Case) -> Any:
    """What a tokenizer answers, in a form that JSON can hold; "error" where it raises one."""
    try:
        if case.method == "look":
            return to_json(look(tokenizer(*case.arguments, **case.options)))
        return to_json(getattr(tokenizer, case.method)(*case.arguments, **case.options))
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return "error"


def look(encoding: Any) -> dict[str, Any]:
    """Everything that an encoding knows: its values, and of its first rows where tokens, words and characters are."""
    seen: dict[str, Any] = {"data": dict(encoding), "rows": []}
    for row in range(min(2, len(encoding.encodings))):
        tokens = encoding.tokens(row)
        words = encoding.word_ids(row)
        facts: dict[str, Any] = {"tokens": tokens, "word_ids": words, "sequence_ids": encoding.sequence_ids(row)}
        for name in METHODS:
            facts[name] = [getattr(encoding, name)(row, i) for i in range(len(tokens))]
        for name in BY_SIDE:
            numbers = range(3) if name.startswith("word") else range(6)
            facts[name] = [_or_none(getattr(encoding, name), row, i, side) for side in (0, 1) for i in numbers]
        seen["rows"].append(facts)
    return seen


def _or_none(method: Any, *arguments: int) -> Any:
    """transformers 4.34 has a TypeError where there is no such word, for some methods, and None for others."""
    try:
        return method(*arguments)
    except TypeError:
        return None


def record() -> None:
    """Asks the installed transformers and writes `FILE`."""
    import tokenizers
    import transformers

    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    with tempfile.TemporaryDirectory() as scratch:
        made = [
            make(
                i,
                transformers.RemBertTokenizerFast,
                transformers.AddedToken,
                lambda path, settings: {"vocab_file": str(path)},
                Path(scratch),
            )
            for i in range(len(TOKENIZERS))
        ]
        cases = [case._replace(answer=ask(made[case.tokenizer], case)) for case in all_cases()]
    versions = {"transformers": transformers.__version__, "tokenizers": tokenizers.__version__}
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    FILE.write_text(f'{{"versions": {json.dumps(versions)},\n"cases": [\n{lines}\n]}}\n', encoding="utf-8")
    print(f"{len(cases)} cases, {FILE.stat().st_size:,} bytes")


if __name__ == "__main__":
    record()
