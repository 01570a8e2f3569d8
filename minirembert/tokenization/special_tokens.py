"""The special tokens of a tokenizer, by name, and tokens that are added to its vocabulary.

    tokenizer.pad_token, tokenizer.pad_token_id              "[PAD]", 0
    tokenizer.add_special_tokens({"mask_token": "<mask>"})   a new token gets the next id: V, V + 1, ...
    tokenizer.add_tokens(["covfefe"])                        found in texts, but not special: decoding does not skip it

What this file does not do: it knows no text and no model. A tokenizer says what ids its model has (the hooks).
"""

from collections.abc import Iterable, Mapping
from typing import Any

from minirembert.tokenization.added_tokens import AddedToken

SPECIAL_TOKEN_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
ADDITIONAL = "additional_special_tokens"

# What Hugging Face takes for a token that is given as a mere text after the tokenizer was made.
STRIPPING = {"lstrip": True, "rstrip": True}


class _Named:
    """`tokenizer.pad_token`: its text, or None where it is not set. What is set to it must be in the vocabulary."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, tokenizer: "SpecialTokens", owner: type | None = None) -> Any:
        if tokenizer is None:
            return self
        token = tokenizer._named[self._name]
        return None if token is None else token.content

    def __set__(self, tokenizer: "SpecialTokens", value: Any) -> None:
        tokenizer._set_named(self._name, value)


class _NamedId:
    """`tokenizer.pad_token_id`: its id, or None where the token is not set."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name.removesuffix("_id")

    def __get__(self, tokenizer: "SpecialTokens", owner: type | None = None) -> Any:
        if tokenizer is None:
            return self
        token = tokenizer._named[self._name]
        return None if token is None else tokenizer._id_of(token.content)

    def __set__(self, tokenizer: "SpecialTokens", value: int | None) -> None:
        tokenizer._set_named(self._name, None if value is None else tokenizer._token_of(int(value)))


class SpecialTokens:
    """Base of the tokenizers. A subclass gives `vocab_size`, `_unknown_id`, `_base_id` and `_base_token`, may override
    `_tokens_added`, and calls `_set_up_tokens` once its model is there.
    """

    bos_token, bos_token_id = _Named(), _NamedId()
    eos_token, eos_token_id = _Named(), _NamedId()
    unk_token, unk_token_id = _Named(), _NamedId()
    sep_token, sep_token_id = _Named(), _NamedId()
    pad_token, pad_token_id = _Named(), _NamedId()
    cls_token, cls_token_id = _Named(), _NamedId()
    mask_token, mask_token_id = _Named(), _NamedId()
    pad_token_type_id = 0
    do_lower_case = False

    _named: dict[str, AddedToken | None]
    _additional: list[AddedToken]
    _added: dict[int, AddedToken]  # by id, in the order in which they were added
    _added_ids: dict[str, int]

    # --- what a subclass gives ---

    @property
    def vocab_size(self) -> int:
        """V: how many tokens the model has by itself."""
        raise NotImplementedError

    @property
    def _unknown_id(self) -> int:
        """The id that the model gives what it does not know."""
        raise NotImplementedError

    def _base_id(self, token: str) -> int | None:
        """The model's own id of a token; None where it has none."""
        raise NotImplementedError

    def _base_token(self, index: int) -> str:
        """The model's own token of an id below `vocab_size`."""
        raise NotImplementedError

    def _tokens_added(self, tokens: list[AddedToken]) -> None:
        """Called after these were entered into `_added` and `_added_ids`."""

    # --- setting up ---

    def _set_up_tokens(
        self,
        named: Mapping[str, Any],
        additional: Iterable[Any] = (),
        added_tokens_decoder: Mapping[Any, Any] | None = None,
    ) -> None:
        """Enters the tokens of a constructor: `added_tokens_decoder` under its ids, then each that is not there yet.

        A token given as a mere text keeps the flags that it has in `added_tokens_decoder`.
        """
        self._named, self._additional, self._added, self._added_ids = dict.fromkeys(SPECIAL_TOKEN_NAMES), [], {}, {}
        for index, value in (added_tokens_decoder or {}).items():
            self._enter(_index(index), AddedToken.of(value))
        named = {name: self._saved(name, value, special=True) for name, value in named.items() if value is not None}
        self._named |= named
        others = [self._saved(ADDITIONAL, value, special=True, **STRIPPING) for value in additional]
        special = {token.content: token for token in others}
        special |= {t.content: t for t in self._added.values() if t.special and t.content not in special}
        texts = {token.content for token in named.values()}
        self._additional = [token for text, token in special.items() if text not in texts]
        self._add([*named.values(), *self._additional], special=True)
        self._tokens_added(list(self._added.values()))

    def _saved(self, name: str, value: Any, **flags: Any) -> AddedToken:
        """As `_token`, but a mere text that was added before keeps its flags."""
        if isinstance(value, str) and value in self._added_ids:
            return self._added[self._added_ids[value]].with_flags(special=True)
        return self._token(name, value, **flags)

    def _token(self, name: str, value: Any, **flags: Any) -> AddedToken:
        try:
            token = AddedToken.of(value, **flags)
        except TypeError as error:
            raise TypeError(f"{name}: {error}") from None
        if not token.content:
            raise ValueError(f"{name} must not be empty")
        return token

    def _enter(self, index: int, token: AddedToken) -> None:
        own = self._base_id(token.content)
        if index < 0 or own not in (None, index):
            raise ValueError(f"the token {token.content!r} cannot have the id {index}: the model has it as {own}")
        if self._added_ids.get(token.content, index) != index:
            raise ValueError(
                f"the token {token.content!r} is given two ids, {self._added_ids[token.content]} and {index}"
            )
        if index in self._added and self._added[index].content != token.content:
            raise ValueError(
                f"the id {index} is given to two tokens, {self._added[index].content!r} and {token.content!r}"
            )
        self._added[index] = token
        self._added_ids[token.content] = index

    def _set_named(self, name: str, value: Any) -> None:
        if value is None:
            self._named[name] = None
            return
        token = self._token(name, value, special=True, **STRIPPING)
        self._require_in_vocabulary(name, token.content)
        self._named[name] = token

    def _require_in_vocabulary(self, name: str, text: str) -> None:
        if text not in self._added_ids and self._base_id(text) is None:
            raise ValueError(
                f"{name}: {text!r} is not in the vocabulary; add_special_tokens adds it and sets {name} in one step"
            )

    # --- adding ---

    def add_tokens(self, new_tokens: Any, special_tokens: bool = False) -> int:
        """Adds one token or a list of them (texts or AddedTokens) and returns how many the vocabulary did not have.

        New ones get the next ids: a model then needs as many more rows in its embeddings. All are found in texts from now
        on. A mere text takes the white space around it away, as in Hugging Face's. Raises TypeError for what is no token.
        """
        if not isinstance(new_tokens, list | tuple):
            new_tokens = [new_tokens] if new_tokens else []
        normalized = {"normalized": not special_tokens}
        return self._add_and_tell([AddedToken.of(t, **STRIPPING, **normalized) for t in new_tokens], special_tokens)

    def add_special_tokens(
        self, special_tokens_dict: Mapping[str, Any], replace_additional_special_tokens: bool = True
    ) -> int:
        """Adds tokens and gives them their names, as in {"pad_token": "<pad>", "additional_special_tokens": ["<a>"]}.

        Returns how many the vocabulary did not have. Additional ones take the place of those before, which stay in the
        vocabulary, unless `replace_additional_special_tokens` is False. Raises ValueError for an unknown name, TypeError
        for what is no dictionary.
        """
        if not isinstance(special_tokens_dict, Mapping):
            what = f"{type(special_tokens_dict).__name__} {special_tokens_dict!r}"[:100]
            raise TypeError(f"add_special_tokens needs names with tokens, as in {{'mask_token': '<mask>'}}, got {what}")
        flags = {"normalized": False, "special": True, **STRIPPING}
        named: dict[str, AddedToken] = {}
        additional: list[AddedToken] | None = None
        for name, value in special_tokens_dict.items():
            if name == ADDITIONAL:
                if not isinstance(value, list | tuple):
                    raise TypeError(f"{name} must be a list of tokens, got {type(value).__name__} {value!r}")
                additional = [self._token(name, token, **flags) for token in value]
            elif name in SPECIAL_TOKEN_NAMES:
                named[name] = self._token(name, value, **flags)
            else:
                raise ValueError(
                    f"{name!r} is no special token; there are {', '.join(SPECIAL_TOKEN_NAMES)}, {ADDITIONAL}"
                )
        self._named |= named
        if additional is not None:
            kept = [] if replace_additional_special_tokens else self._additional
            self._additional = list({token.content: token for token in [*kept, *additional]}.values())
        return self._add_and_tell([*named.values(), *(additional or [])], special=True)

    def _add_and_tell(self, tokens: list[AddedToken], special: bool) -> int:
        before = len(self)
        self._tokens_added(self._add(tokens, special))
        return len(self) - before

    def _add(self, tokens: Iterable[AddedToken], special: bool) -> list[AddedToken]:
        entered = []
        special_texts = set(self.all_special_tokens)
        free = len(self)
        for token in tokens:
            if not token.content:
                continue
            if special:
                token = token.with_flags(special=True)
            elif self.do_lower_case and token.normalized and not token.special:
                token = token.with_flags(content=token.content.lower())
            index = self._added_ids.get(token.content, self._base_id(token.content))
            if index is None:
                while free in self._added:  # ids that a file gave out may leave gaps
                    free += 1
                index = free
            self._enter(index, token)
            if token.special and token.content not in special_texts:
                special_texts.add(token.content)
                self._additional.append(token)
            entered.append(token)
        return entered

    def __len__(self) -> int:
        """V, and as many more as tokens were added to the model's own."""
        return self.vocab_size + sum(index >= self.vocab_size for index in self._added)

    # --- looking up ---

    def _id_of(self, token: str) -> int:
        index = self._added_ids.get(token)
        if index is None:
            index = self._base_id(token)
        return self._unknown_id if index is None else index

    def _token_of(self, index: int) -> str:
        added = self._added.get(index)
        if added is not None:
            return added.content
        if not 0 <= index < self.vocab_size:
            raise IndexError(f"id {index} is not in the vocabulary of {len(self)} tokens")
        return self._base_token(index)

    def get_added_vocab(self) -> dict[str, int]:
        """The tokens that are found literally in texts, with their ids: special ones and those that were added."""
        return dict(self._added_ids)

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        """The same, sorted by id."""
        return {token.content: index for index, token in self.added_tokens_decoder.items()}

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """The same the other way round, with the tokens' flags."""
        return dict(sorted(self._added.items()))

    @property
    def additional_special_tokens(self) -> list[str]:
        """Special tokens without a name. What is set to it must be in the vocabulary."""
        return [token.content for token in self._additional]

    @additional_special_tokens.setter
    def additional_special_tokens(self, values: Iterable[Any] | None) -> None:
        tokens = [self._token(ADDITIONAL, value, special=True, **STRIPPING) for value in values or ()]
        for token in tokens:
            self._require_in_vocabulary(ADDITIONAL, token.content)
        self._additional = tokens

    @property
    def additional_special_tokens_ids(self) -> list[int]:
        """Their ids, in the same order."""
        return [self._id_of(token) for token in self.additional_special_tokens]

    @additional_special_tokens_ids.setter
    def additional_special_tokens_ids(self, values: Iterable[int]) -> None:
        self.additional_special_tokens = [self._token_of(int(value)) for value in values]

    @property
    def special_tokens_map_extended(self) -> dict[str, AddedToken | list[AddedToken]]:
        """Name to token, with flags, of all special tokens that are set."""
        tokens: dict[str, AddedToken | list[AddedToken]] = {n: token for n, token in self._named.items() if token}
        return {**tokens, ADDITIONAL: list(self._additional)} if self._additional else tokens

    @property
    def special_tokens_map(self) -> dict[str, Any]:
        """Name to text of all special tokens that are set."""
        tokens: dict[str, Any] = {name: token.content for name, token in self._named.items() if token}
        return {**tokens, ADDITIONAL: self.additional_special_tokens} if self._additional else tokens

    @property
    def all_special_tokens_extended(self) -> list[AddedToken]:
        """Each special token once, with flags: named ones in the order of their names, then the others."""
        tokens: dict[str, AddedToken] = {}
        for token in [*self._named.values(), *self._additional]:
            if token is not None:
                tokens.setdefault(token.content, token)
        return list(tokens.values())

    @property
    def all_special_tokens(self) -> list[str]:
        """Their texts."""
        return list(dict.fromkeys([t.content for t in self._named.values() if t] + self.additional_special_tokens))

    @property
    def all_special_ids(self) -> list[int]:
        """Their ids, in the same order."""
        return [self._id_of(token) for token in self.all_special_tokens]


def _index(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise ValueError(f"added_tokens_decoder: an id must be an integer, got {value!r}") from None
