"""Tokens, ids and text: how a tokenizer translates from ids back to text, whatever it does on the way there."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, overload

from minirembert.scalars import as_switch, is_integer
from minirembert.tokenization.fast_sentencepiece import read_sentencepiece
from minirembert.tokenization.special_tokens import SpecialTokens

# English only, and only on the way back: "it 's , he said ." reads "it's, he said."
CLEAN_UPS = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")

T = TypeVar("T", int, str)


class Vocabulary(SpecialTokens):
    """Adds the conversions to the special tokens. A subclass gives `convert_tokens_to_string`, too."""

    clean_up_tokenization_spaces: bool

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """The tokens as text."""
        raise NotImplementedError

    def get_vocab(self) -> dict[str, int]:
        """Every token with its id, those that were added included."""
        model = {self._token_of(i): i for i in range(self.vocab_size)}
        return model | self.added_tokens_encoder

    @overload
    def convert_tokens_to_ids(self, tokens: str) -> int: ...
    @overload
    def convert_tokens_to_ids(self, tokens: list[str] | tuple[str, ...]) -> list[int]: ...
    def convert_tokens_to_ids(self, tokens: str | list[str] | tuple[str, ...]) -> int | list[int]:
        """The id of one token, or of several; the unknown token's for any other text. Raises TypeError for anything else."""
        if isinstance(tokens, str):
            return self._id_of(tokens)
        listed = list(tokens) if isinstance(tokens, Iterable) else [tokens]
        for token in listed:
            if not isinstance(token, str):
                raise TypeError(f"a token, or a list of tokens, is needed, got {type(token).__name__} {token!r}"[:200])
        return list(map(self._id_of, listed))

    @overload
    def convert_ids_to_tokens(self, ids: int, skip_special_tokens: bool = False) -> str: ...
    @overload
    def convert_ids_to_tokens(self, ids: Iterable[int], skip_special_tokens: bool = False) -> list[str]: ...
    def convert_ids_to_tokens(self, ids: int | Iterable[int], skip_special_tokens: bool = False) -> str | list[str]:
        """The token of one id (special or not), or the tokens of several.

        Raises IndexError for an id there is not, TypeError for anything but an integer.
        """
        skip_special_tokens = as_switch("skip_special_tokens", skip_special_tokens)
        ids = plain_ids(ids)
        if isinstance(ids, int):
            return self._token_of(ids)
        skipped = set(self.all_special_ids) if skip_special_tokens else set()
        return [self._token_of(i) for i in ids if i not in skipped]

    def decode(
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        spaces_between_special_tokens: bool = True,
    ) -> str:
        """The ids (a list, an array, a tensor or one id) as text.

        `clean_up_tokenization_spaces` (None: the tokenizer's own setting) drops the spaces before English punctuation.
        `spaces_between_special_tokens` puts a space around tokens that were added to the model's own. Raises IndexError
        for an id there is not, TypeError for anything but an integer.
        """
        skip_special_tokens = as_switch("skip_special_tokens", skip_special_tokens)
        spaces = as_switch("spaces_between_special_tokens", spaces_between_special_tokens)
        clean = self.clean_up_tokenization_spaces
        if clean_up_tokenization_spaces is not None:
            clean = as_switch("clean_up_tokenization_spaces", clean_up_tokenization_spaces)
        text = self._text_of(plain_ids(token_ids), skip_special_tokens, spaces)
        return self.clean_up_tokenization(text) if clean else text

    def batch_decode(
        self,
        sequences: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        spaces_between_special_tokens: bool = True,
    ) -> list[str]:
        """`decode` for each sequence. Raises TypeError for anything but a list of them."""
        if not isinstance(sequences, Iterable):
            raise TypeError(f"a list of lists of ids is needed, got {type(sequences).__name__} {sequences!r}"[:200])
        options = (skip_special_tokens, clean_up_tokenization_spaces, spaces_between_special_tokens)
        return [self.decode(ids, *options) for ids in sequences]

    @staticmethod
    def clean_up_tokenization(out_string: str) -> str:
        """Drops the spaces that English does not have before punctuation and short forms."""
        for untidy in CLEAN_UPS:
            out_string = out_string.replace(untidy, untidy.strip())
        return out_string

    def _text_of(self, ids: int | Iterable[int], skip_special_tokens: bool, spaces: bool) -> str:
        # A single id gives a single token, whose letters are decoded: 4 reads "[MASK]" where [4] reads "". As in 4.34.
        tokens = self.convert_ids_to_tokens(ids, skip_special_tokens)
        special = set(self.all_special_tokens)
        outside = {token for token, index in self._tables.ids.items() if token not in special}
        outside |= {token for token in self.additional_special_tokens if self._id_of(token) >= self.vocab_size}
        return text_around(list(tokens), {token: token for token in outside}, self.convert_tokens_to_string, spaces)


def text_around(items: list[T], outside: Mapping[T, str], text_of: Callable[[list[T]], str], spaces: bool) -> str:
    """Text of tokens or ids: `text_of` each stretch between those in `outside`, which stand for their own text; a space
    between all of them if `spaces`.
    """
    if outside.keys().isdisjoint(items):
        return text_of(items)
    texts: list[str] = []
    stretch: list[T] = []
    for item in items:
        if item not in outside:
            stretch.append(item)
            continue
        if stretch and (text := text_of(stretch)):
            texts.append(text)
        texts.append(outside[item])
        stretch = []
    if stretch:
        texts.append(text_of(stretch))
    return (" " if spaces else "").join(texts)


def plain_ids(value: Any) -> int | list[int]:
    """One id, or a list of them, as Python's own, from lists, arrays and tensors. Raises TypeError for anything else."""
    ids = value.tolist() if hasattr(value, "tolist") else value
    if is_integer(ids):
        return int(ids)
    if isinstance(ids, str | bytes | Mapping) or not isinstance(ids, Iterable):
        raise TypeError(f"an id, or a list of ids, is needed, got {type(ids).__name__} {ids!r}"[:200])
    listed = [item.tolist() if hasattr(item, "tolist") else item for item in ids]
    for item in listed:
        if isinstance(item, list | tuple):
            raise TypeError(f"one list of ids is needed, got a list of lists, {listed!r}"[:200] + "; use batch_decode")
        if not is_integer(item):
            raise TypeError(f"an id must be an integer, got {type(item).__name__} {item!r}"[:200])
    return list(map(int, listed))


def list_of_ids(value: Any) -> list[int]:
    """As `plain_ids`, but a list only."""
    ids = plain_ids(value)
    if isinstance(ids, int):
        raise TypeError(f"a list of ids is needed, got {ids}")
    return ids


def sentencepiece_processor(model: bytes, name: str) -> Any:
    """SentencePiece's processor of the bytes of a .model file. Raises ValueError, naming `name`, for other bytes."""
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(model)
    except RuntimeError as error:  # its reasons are places in its source, so ours comes first
        read_sentencepiece(model, name)
        raise ValueError(f"{name} is not a SentencePiece model: SentencePiece cannot read it") from error
    return processor
