"""The special tokens around a sequence or a pair: [CLS] A [SEP], [CLS] A [SEP] B [SEP]."""

from collections.abc import Sequence

from minirembert.scalars import as_switch
from minirembert.tokenization.vocabulary import Vocabulary, list_of_ids


class Template(Vocabulary):
    """Adds to the conversions what stands around the tokens of a text."""

    model_max_length: int

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """How many special tokens go around one sequence, or around a pair."""
        pair = as_switch("pair", pair)
        return len(self.build_inputs_with_special_tokens([], [] if pair else None))

    @property
    def max_len_single_sentence(self) -> int:
        """How many tokens of one text fit in `model_max_length`."""
        return self.model_max_length - self.num_special_tokens_to_add(pair=False)

    @property
    def max_len_sentences_pair(self) -> int:
        """How many tokens of both texts of a pair fit in `model_max_length`."""
        return self.model_max_length - self.num_special_tokens_to_add(pair=True)

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """[CLS] A [SEP], or [CLS] A [SEP] B [SEP].

        Raises ValueError where these two tokens are not set, TypeError for ids that are not integers.
        """
        return self._around(list_of_ids(token_ids_0), None if token_ids_1 is None else list_of_ids(token_ids_1))

    def _around(self, token_ids_0: list[int], token_ids_1: list[int] | None) -> list[int]:
        """The same, of ids that are known to be integers."""
        cls, sep = self.cls_token_id, self.sep_token_id
        if cls is None or sep is None:
            name = "cls_token" if cls is None else "sep_token"
            raise ValueError(f"special tokens cannot be added: {name} is not set; pass add_special_tokens=False")
        first = [cls, *token_ids_0, sep]
        return first if token_ids_1 is None else [*first, *token_ids_1, sep]

    def get_special_tokens_mask(
        self,
        token_ids_0: Sequence[int],
        token_ids_1: Sequence[int] | None = None,
        already_has_special_tokens: bool = False,
    ) -> list[int]:
        """1 where `build_inputs_with_special_tokens` puts a special token, 0 elsewhere.

        With `already_has_special_tokens` the ids are a finished sequence, and its [CLS] and [SEP] have a 1; other
        special tokens do not. Raises ValueError if a second sequence comes with a finished one.
        """
        if as_switch("already_has_special_tokens", already_has_special_tokens):
            if token_ids_1 is not None:
                raise ValueError(
                    "You should not supply a second sequence if the provided sequence of ids is already formatted "
                    "with special tokens for the model."
                )
            return [int(i in (self.sep_token_id, self.cls_token_id)) for i in token_ids_0]
        first = [1, *[0] * len(token_ids_0), 1]
        return first if token_ids_1 is None else [*first, *[0] * len(token_ids_1), 1]

    def create_token_type_ids_from_sequences(
        self, token_ids_0: Sequence[int], token_ids_1: Sequence[int] | None = None
    ) -> list[int]:
        """0 for [CLS] A [SEP], then 1 for B [SEP]."""
        first = [0] * (len(token_ids_0) + 2)
        return first if token_ids_1 is None else first + [1] * (len(token_ids_1) + 1)
