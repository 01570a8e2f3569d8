"""Several threads and one tokenizer: tokens added at once each get an id, nobody sees half a change, and calls do not mix."""

import copy
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tokenizer_models import small_model

from minirembert import RemBertTokenizer, RemBertTokenizerFast

THREADS, EACH = 6, 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("threads")
    (path / "sentencepiece.model").write_bytes(small_model())
    RemBertTokenizer(path / "sentencepiece.model").save_pretrained(path)
    return path


@pytest.fixture(params=[RemBertTokenizer, RemBertTokenizerFast])
def tokenizer(request, folder) -> Any:
    """A tokenizer of the test's own."""
    return request.param.from_pretrained(folder)


@pytest.fixture(autouse=True)
def threads_that_take_turns_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(*tasks: Callable[[], Any]) -> list[Any]:
    """What each returned. All start at once; what one raised is raised here."""
    results: list[Any] = [None] * len(tasks)
    errors: list[BaseException] = []
    start = threading.Barrier(len(tasks))

    def work(number: int) -> None:
        start.wait()
        try:
            results[number] = tasks[number]()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(tasks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def names(thread: int) -> list[str]:
    return [f"<{thread}_{i}>" for i in range(EACH)]


def adder(tokenizer: Any, thread: int) -> Callable[[], int]:
    """Adds tokens one by one, half of the threads special ones, and looks each up as soon as it is there."""

    def add() -> int:
        count = 0
        for name in names(thread):
            if thread % 2:
                count += tokenizer.add_special_tokens(
                    {"additional_special_tokens": [name]}, replace_additional_special_tokens=False
                )
            else:
                count += tokenizer.add_tokens([name])
            index = tokenizer.convert_tokens_to_ids(name)
            assert index >= tokenizer.vocab_size
            assert tokenizer.convert_ids_to_tokens(index) == name
            assert index in tokenizer.encode(f"the {name} people")
        return count

    return add


def check_whole(tokenizer: Any) -> None:
    """Each token has an id, each id one token, and texts have them."""
    added = {name: index for name, index in tokenizer.get_added_vocab().items() if index >= tokenizer.vocab_size}
    assert sorted(added.values()) == list(range(tokenizer.vocab_size, len(tokenizer)))
    for name, index in added.items():
        assert tokenizer.convert_ids_to_tokens(index) == name
    assert set(tokenizer.encode(" ".join(added), add_special_tokens=False)) >= set(added.values())
    assert set(tokenizer.additional_special_tokens) <= added.keys()


def test_each_token_gets_an_id(tokenizer, tmp_path):
    counts = together(*(adder(tokenizer, thread) for thread in range(THREADS)))
    assert len(tokenizer) == tokenizer.vocab_size + THREADS * EACH
    check_whole(tokenizer)
    assert sum(counts) >= THREADS * EACH
    for thread in range(THREADS):
        assert {*names(thread)} <= tokenizer.get_vocab().keys()
        assert ({*names(thread)} <= {*tokenizer.additional_special_tokens}) == bool(thread % 2)
    tokenizer.save_pretrained(tmp_path)
    again = type(tokenizer).from_pretrained(tmp_path)
    check_whole(again)
    assert again.get_added_vocab() == tokenizer.get_added_vocab()


def test_one_token_added_by_all_gets_one_id(tokenizer):
    wanted = [f"<{i}>" for i in range(EACH)]

    def add() -> int:
        return sum(tokenizer.add_tokens([name]) for name in wanted)

    counts = together(*[add] * THREADS)
    assert sum(counts) == EACH
    assert len(tokenizer) == tokenizer.vocab_size + EACH
    check_whole(tokenizer)


def test_readers_never_see_half_a_change(tokenizer):
    adding = threading.Event()

    def add() -> None:
        try:
            together(*(adder(tokenizer, thread) for thread in range(3)))
        finally:
            adding.set()

    def read() -> None:
        while not adding.is_set():
            ids = tokenizer("the <0_0> people <1_3> <2_11>", padding="max_length", max_length=30).input_ids
            assert "".join(tokenizer.convert_ids_to_tokens(ids)).startswith("[CLS]▁the")
            tokenizer.decode(ids, skip_special_tokens=True)
            assert len(tokenizer.get_vocab()) >= tokenizer.vocab_size
            added = tokenizer.added_tokens_decoder
            assert len({token.content for token in added.values()}) == len(added)
            assert tokenizer.all_special_tokens[:5] == ["[CLS]", "[SEP]", "[UNK]", "[PAD]", "[MASK]"]
            assert tokenizer.unk_token_id not in tokenizer.all_special_ids[5:]

    def copies() -> None:
        while not adding.is_set():
            for other in (copy.deepcopy(tokenizer), pickle.loads(pickle.dumps(tokenizer)), copy.copy(tokenizer)):
                check_whole(other)

    together(add, read, read, copies)
    check_whole(tokenizer)


def test_names_are_set_with_their_ids(tokenizer):
    """A name never stands for a token that has no id yet."""
    adding = threading.Event()

    def add() -> None:
        for i in range(THREADS * EACH):
            tokenizer.add_special_tokens({"mask_token": f"<mask{i}>"})
        adding.set()

    def read() -> None:
        while not adding.is_set():
            assert tokenizer.mask_token_id != tokenizer.unk_token_id

    together(add, read, read)
    assert tokenizer.mask_token_id == len(tokenizer) - 1


def test_calls_do_not_mix(tokenizer):
    text = "the people the people"
    options: list[dict[str, Any]] = [
        {"padding": "max_length", "max_length": 12},
        {},
        {"truncation": True, "max_length": 4},
        {"padding": True, "pad_to_multiple_of": 8},
        {"add_special_tokens": False},
        {"split_special_tokens": True},
    ]
    expected = [tokenizer(text, **option).input_ids for option in options]
    assert len(set(map(len, expected))) > 3

    def call(number: int) -> Callable[[], None]:
        def work() -> None:
            for _ in range(60):
                assert tokenizer(text, **options[number]).input_ids == expected[number]
                assert tokenizer([text] * 2, **options[number]).input_ids == [expected[number]] * 2

        return work

    together(*(call(number) for number in range(len(options))))


def test_a_copy_is_a_tokenizer_of_its_own(tokenizer):
    for make in (copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))):
        before = len(tokenizer)
        other = make(tokenizer)
        assert other.add_tokens(["covfefe"]) == 1
        assert len(tokenizer) == before
        assert before not in tokenizer.encode("the covfefe")
        assert tokenizer.add_tokens([f"<{make.__name__}>"]) == 1
        assert other.convert_tokens_to_ids(f"<{make.__name__}>") == other.unk_token_id
        check_whole(tokenizer)
        check_whole(other)


def test_what_cannot_be_added_changes_nothing(folder):
    tokenizer = RemBertTokenizerFast.from_pretrained(folder)
    tokenizer.backend_tokenizer.add_tokens(["sneaked"])  # its ids are ahead of ours now
    before = (len(tokenizer), tokenizer.get_added_vocab(), tokenizer.special_tokens_map)
    for add in (lambda: tokenizer.add_tokens(["new"]), lambda: tokenizer.add_special_tokens({"mask_token": "<m>"})):
        with pytest.raises(ValueError, match="adds tokens without gaps"):
            add()
        assert (len(tokenizer), tokenizer.get_added_vocab(), tokenizer.special_tokens_map) == before
        assert tokenizer.backend_tokenizer.token_to_id("new") is None
        assert tokenizer.mask_token_id == 4
