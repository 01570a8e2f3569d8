"""The `tokenizers` library's pipeline for a SentencePiece model, as near to SentencePiece as the library can come.

    text -> [special tokens cut out] -> normaliser -> words -> Unigram -> [CLS] ... [SEP]

transformers 4.34 makes a pipeline, too, and its ids differ from SentencePiece's for one string in eight. Here

- white space is collapsed after the characters were mapped, and stripped from both ends of each stretch between special
  tokens, so that none becomes a token of its own; `` and '' stay what they are;
- marks typed apart from their letter ("e" and an accent; Japanese or Korean from a Mac) are put together by NFC: the
  library's own way of mapping characters (`Precompiled`) misses most of these, and loses the second of two marks.

What remains is in DEVIATIONS.md and `tests/test_tokenizer_fast_slow.py`. What this file does not do: it converts no model
but Unigram, and none that treats white space in another way than RemBERT's or spells unknown characters in bytes.
"""

import json
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minirembert.tokenization.added_tokens import AddedToken
from minirembert.tokenization.fast_sentencepiece import (
    BYTE,
    UNIGRAM,
    USER_DEFINED,
    SentencePieceFile,
    read_sentencepiece,
)

if TYPE_CHECKING:
    from minirembert.tokenization.tokenizer import RemBertTokenizer

SPACE = "\u2581"  # SentencePiece's sign for the space in front of a word
LARGEST_FILE = 256 * 2**20  # bytes of a tokenizer.json; google/rembert's vocabulary takes 18 MB

OTHER_MARKS = (
    "\u200d\uff9e\uff9f"  # what holds emoji together; Japanese marks of half width, which are letters to Unicode
)
ABOVE = 230  # Unicode's combining class of marks above a letter; most others have lower ones
APART = "\ufdd0"  # stands before a mark for a while: Unicode has set it aside for use inside programs


def backend_from_sentencepiece(
    model: bytes, name: str = "the model", *, do_lower_case: bool = False, keep_accents: bool = True
) -> Any:
    """A `tokenizers.Tokenizer` for the bytes of a SentencePiece file; it knows no special tokens yet and adds none.

    `do_lower_case` lowers every character first; without `keep_accents` characters are taken apart (NFKD) and lose their
    marks. Raises ValueError, naming the file `name`, for anything but a SentencePiece model, and for a model that the library
    cannot follow.
    """
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers

    file = read_sentencepiece(model, name)
    _require_supported(file, name)
    backend = tokenizers.Tokenizer(models.Unigram(_vocabulary(file), file.unk_id, False))
    backend.normalizer = _normalizer(file, do_lower_case, keep_accents)
    prefix = "always" if file.add_dummy_prefix else "never"
    # Words are looked up one by one, as long as no piece can reach over the end of a word.
    ends = any(piece.text == SPACE for piece in file.pieces) and not any(SPACE in p.text[1:] for p in file.pieces)
    backend.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, prefix, split=ends)
    backend.decoder = decoders.Metaspace(SPACE, prefix)
    return backend


def _require_supported(file: SentencePieceFile, name: str) -> None:
    reasons = {
        "it is not a Unigram model": file.model_type != UNIGRAM,
        "it spells unknown characters in bytes": any(piece.kind == BYTE for piece in file.pieces),
        "it puts the sign for a space behind words": file.treat_whitespace_as_suffix,
        "it does not mark spaces": not file.escape_whitespaces,
        "it keeps white space as it is": not file.remove_extra_whitespaces,
    }
    for reason, holds in reasons.items():
        if holds:
            raise ValueError(f"{name} cannot be used by a fast tokenizer: {reason}; use RemBertTokenizer")


def _vocabulary(file: SentencePieceFile) -> list[tuple[str, float]]:
    """Every piece with its score. One that a user defined has a better one than any other, as when SentencePiece uses it."""
    return [(text, -0.1 if kind == USER_DEFINED else score) for text, score, kind in file.pieces]


def _normalizer(file: SentencePieceFile, do_lower_case: bool, keep_accents: bool) -> Any:
    from tokenizers import Regex, normalizers

    steps: list[Any] = []
    if not keep_accents:
        steps += [normalizers.NFKD(), normalizers.StripAccents()]
    if do_lower_case:
        steps.append(normalizers.Lowercase())
    # White space at the start, at the end, and before more of it. SentencePiece strips its own sign at the end, too. A run is
    # looked at from its start only: a million spaces are no reason to wait.
    unwanted = [r"\A +", rf"(?<![ {SPACE}])[ {SPACE}]++\z", r" +(?= )"]
    if file.charsmap:
        characters = normalizers.Precompiled(file.charsmap)
        if characters.normalize_str("e\u0301") == "\u00e9":  # a map that composes
            # 1. Set every mark apart, so that `characters` sees it alone and cannot lose it. (At the start of a text the
            #    library could not take an insertion, and there is nothing to set it apart from.)
            # 2. Map the characters.
            # 3. Let marks touch their letters again where SentencePiece would compose them.
            # 4. Compose.
            apart = normalizers.Replace(Regex(rf"(?!\A)(?=[\p{{M}}{OTHER_MARKS}])"), APART)
            touching = normalizers.Replace(Regex(_before_composing_marks()), "")
            steps += [apart, characters, touching, normalizers.NFC()]
            unwanted.append(APART)
        else:
            steps.append(characters)
    return normalizers.Sequence([*steps, normalizers.Replace(Regex("|".join(unwanted)), "")])


def _before_composing_marks() -> str:
    """A pattern for `APART` where a mark composes with what is before it in SentencePiece's map, too.

    Unlike NFC, the map knows no marks on characters that have one already ("ê" and a dot below), and sorts no marks: Arabic
    and Hebrew vowels stay as they were typed, and an accent below stands before one above or composes with nothing.
    """
    composed, composing, lower = set(), set(), set()
    for character in map(chr, range(0xC0, 0x3100)):  # all that composes in use today
        parts = unicodedata.normalize("NFD", character)
        if unicodedata.normalize("NFC", character) == character and len(parts) > 1:
            mark = parts[-1]
            composed.add(character)
            composing.add(mark)
            if 0 < unicodedata.combining(mark) < ABOVE:
                lower.add(mark)
    composed_, composing_, lower_ = _set(composed), _set(composing), _set(lower)
    above = _set({mark for mark in composing if unicodedata.combining(mark) >= ABOVE})
    alone = rf"(?<![{composed_}]{APART})(?<![\p{{M}}&&[^{composing_}]]{APART})"
    return rf"{APART}{alone}(?:(?=[{_set(composing - lower)}])|(?<![{above}]{APART})(?=[{lower_}]))"


def _set(characters: set[str]) -> str:
    return "".join(sorted(characters))


def add_template(backend: Any, cls: tuple[str, int], sep: tuple[str, int]) -> None:
    """Makes the backend's inputs [CLS] A [SEP] and [CLS] A [SEP] B [SEP]; each token comes with its id."""
    from tokenizers import processors

    # Under names of our own: the library's notation gives spaces, colons and dollar signs a meaning, and a token may hold them.
    special = [{"id": name, "ids": [i], "tokens": [text]} for name, (text, i) in (("cls", cls), ("sep", sep))]
    single = ["cls:0", "$A:0", "sep:0"]
    pair = [*single, "$B:1", "sep:1"]
    backend.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=special)


def add_tokens(backend: Any, tokens: Iterable[tuple[int, AddedToken]], do_lower_case: bool) -> None:
    """Enters tokens that the backend is to find in texts. Raises ValueError where it would give one another id than ours; what
    can be known of that beforehand is, and then none is entered.
    """
    import tokenizers

    tokens = list(tokens)
    free = backend.get_vocab_size(with_added_tokens=True)
    for index, token in tokens:
        given = backend.token_to_id(token.content)
        if given is None:
            given, free = free, free + 1
        _require_id(index, token, given)
    for index, token in tokens:
        # Found in the raw text, as the slow tokenizer finds them, unless letters have to become small before. Then what is
        # beside them is normalised already, and white space there is theirs, or it would become a token.
        lowered = bool(token.normalized and do_lower_case)
        flags = token.flags | {"normalized": lowered}
        if lowered:
            flags |= {"lstrip": True, "rstrip": True}
        theirs = tokenizers.AddedToken(token.content, **flags)
        if token.special:
            backend.add_special_tokens([theirs])
        else:
            backend.add_tokens([theirs])
        _require_id(index, token, backend.token_to_id(token.content))


def _require_id(index: int, token: AddedToken, given: int | None) -> None:
    if given != index:
        raise ValueError(
            f"the token {token.content!r} cannot have the id {index} in a fast tokenizer, which adds tokens without "
            f"gaps and gives it {given}; use RemBertTokenizer"
        )


def read_backend(path: Path) -> Any:
    """The `tokenizers.Tokenizer` in a tokenizer.json, as it is; what it says about truncation and padding is dropped.

    Raises FileNotFoundError, or ValueError in one sentence for anything but a whole tokenizer on a Unigram model.
    """
    import tokenizers

    if not path.is_file():
        raise FileNotFoundError(f"tokenizer_file {path} does not exist")
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise ValueError(f"{path} is too large for a tokenizer: {size:,} bytes, at most {LARGEST_FILE:,} are read")
    with one_sentence(f"{path} is not a tokenizer.json"):
        backend = tokenizers.Tokenizer.from_file(str(path))
    if not isinstance(backend.model, tokenizers.models.Unigram):
        kind = type(backend.model).__name__
        raise ValueError(f"{path} is not a RemBERT tokenizer: its model is {kind}, not Unigram")
    with one_sentence(f"{path} has no unknown token"):
        unknown_id(backend)
    backend.no_truncation()
    backend.no_padding()
    size = backend.get_vocab_size(with_added_tokens=True)
    with one_sentence(f"{path} is not a tokenizer.json"):
        added = [i for text in ("", ("", "")) for i in backend.encode_batch([text])[0].ids]
    if any(i >= size for i in added):
        raise ValueError(f"{path} adds the id {max(added)}, outside its vocabulary of {size} tokens")
    return backend


def unknown_id(backend: Any) -> int:
    """What the model makes of a character that is not in its vocabulary: the library tells it in no other way."""
    return int(backend.model.tokenize("\uffff")[0].id)


@contextmanager
def one_sentence(what: str) -> Iterator[None]:
    """Turns what the library raises into a ValueError. It panics, too, with an exception that is no `Exception`."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            reason = (
                " ".join(str(error).split()) if isinstance(error, Exception) else "the tokenizers library fails on it"
            )
            raise ValueError(f"{what}: {reason[:300]}") from error
        raise


def backend_json(backend: Any) -> str:
    """The content of tokenizer.json, for this version of the library and for that of transformers 4.34."""
    content = json.loads(backend.to_str())
    content |= {"truncation": None, "padding": None}  # of the last call
    for part in (content["pre_tokenizer"], content["decoder"]):
        if part and part["type"] == "Metaspace":
            part["add_prefix_space"] = part["prepend_scheme"] != "never"  # what prepend_scheme was before
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def as_input(first: Any, second: Any, split: bool) -> Any:
    """One text or pair as the library takes it, which would take a list of two texts for a pair."""
    for side in (first,) if second is None else (first, second):
        if not isinstance(side, list | tuple if split else str):
            what = "a list of words" if split else "a text"
            raise ValueError(f"{what} is needed, got {type(side).__name__} {side!r}"[:200])
    if split:
        return list(first) if second is None else (list(first), list(second))
    return first if second is None else (first, second)


def require_text(value: Any) -> None:
    """Raises ValueError where a text, or one of several, is not valid text."""
    if isinstance(value, list | tuple):
        for part in value:
            require_text(part)
        return
    if not isinstance(value, str):
        raise ValueError(f"a text is needed, got {type(value).__name__} {value!r}"[:200])
    try:
        value.encode()
    except UnicodeEncodeError as error:
        lone = f"character {error.start} is {value[error.start]!r}, half of a surrogate pair"
        raise ValueError(f"the text is not valid Unicode: {lone}") from None


def tokenizer_json(tokenizer: "RemBertTokenizer") -> str | None:
    """The tokenizer.json of a slow tokenizer's folder: fast tokenizers made from it give the ids of this one, but for the
    differences in DEVIATIONS.md. None where the library cannot follow it.
    """
    try:
        backend = backend_from_sentencepiece(
            tokenizer._model_bytes, str(tokenizer.vocab_file), do_lower_case=tokenizer.do_lower_case
        )
        add_tokens(backend, sorted(tokenizer.added_tokens_decoder.items()), tokenizer.do_lower_case)
    except ValueError:
        return None
    cls, sep = tokenizer.cls_token, tokenizer.sep_token
    if cls is not None and sep is not None:
        add_template(backend, (cls, tokenizer.cls_token_id), (sep, tokenizer.sep_token_id))
    return backend_json(backend)
