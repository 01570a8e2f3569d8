"""RemBertTokenizerFast, call by call, against what transformers 4.34 answered (`tokenizer_fast_cases.py` wrote it down).

Both run on the pipeline that transformers 4.34 makes of a model, which `hugging_face_json` makes once more: it reaches our
class as a tokenizer.json, which has to be followed as it is.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizer_cases import Case
from tokenizer_fast_cases import FILE, TOKENIZERS, all_cases, ask, make
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors

from minirembert.tokenization.added_tokens import AddedToken
from minirembert.tokenization.fast import RemBertTokenizerFast
from minirembert.tokenization.fast_sentencepiece import read_sentencepiece


def hugging_face_json(model: bytes, settings: dict[str, Any]) -> str:
    """The tokenizer.json of transformers 4.34 for a SentencePiece model, put together by its rules."""
    file = read_sentencepiece(model)
    backend = tokenizers.Tokenizer(models.Unigram([(p.text, p.score) for p in file.pieces], file.unk_id, False))
    steps: list[Any] = [
        normalizers.Replace("``", '"'),
        normalizers.Replace("''", '"'),
        normalizers.Replace(Regex(" {2,}"), " "),
    ]
    if not settings.get("keep_accents", False):
        steps += [normalizers.NFKD(), normalizers.StripAccents()]
    if settings.get("do_lower_case", True):
        steps.append(normalizers.Lowercase())
    backend.normalizer = normalizers.Sequence([*steps, normalizers.Precompiled(file.charsmap)])
    backend.pre_tokenizer = pre_tokenizers.Metaspace("▁", "always")
    backend.decoder = decoders.Metaspace("▁", "always")
    special = [(text, backend.token_to_id(text)) for text in ("[CLS]", "[SEP]")]
    single, pair = "[CLS]:0 $A:0 [SEP]:0", "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1"
    backend.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=special)
    return backend.to_str()


def json_file(path: Path, settings: dict[str, Any]) -> dict[str, Path]:
    file = path.with_suffix(f".{settings.get('do_lower_case', True)}.json")
    file.write_text(hugging_face_json(path.read_bytes(), settings), encoding="utf-8")
    return {"tokenizer_file": file}


CASES = [Case(*case) for case in json.loads(FILE.read_text(encoding="utf-8"))["cases"]]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> list[RemBertTokenizerFast]:
    folder = tmp_path_factory.mktemp("fast")
    return [make(i, RemBertTokenizerFast, AddedToken, json_file, folder) for i in range(len(TOKENIZERS))]


def test_the_calls_are_those_that_were_recorded():
    asked = [case[:4] for case in all_cases()]
    assert json.loads(json.dumps(asked)) == [list(case[:4]) for case in CASES]


@pytest.mark.parametrize("number", range(len(TOKENIZERS)))
def test_every_answer_is_that_of_transformers(made, number):
    wrong = []
    cases = [case for case in CASES if case.tokenizer == number]
    for case in cases:
        answer = json.loads(json.dumps(ask(made[number], case)))
        if answer != case.answer:
            wrong.append((case, answer))
    assert len(cases) > 100
    assert not wrong, f"{len(wrong)} of {len(cases)}: {wrong[0]}"
