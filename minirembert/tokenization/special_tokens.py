"""The special tokens of a tokenizer, by name, and tokens that are added to its vocabulary.

    tokenizer.pad_token, tokenizer.pad_token_id              "[PAD]", 0
    tokenizer.add_special_tokens({"mask_token": "<mask>"})   a new token gets the next id: V, V + 1, ...
    tokenizer.add_tokens(["covfefe"])                        found in texts, but not special: decoding does not skip it

Threads may share a tokenizer, and add tokens to it while others use it: what changes is never written to but replaced as a
whole, by one thread at a time.

What this file does not do: it knows no text and no model. A tokenizer says what ids its model has (the hooks).
"""

import threading
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from minirembert.scalars import as_integer, as_switch
from minirembert.tokenization.added_tokens import AddedToken

SPECIAL_TOKEN_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
ADDITIONAL = "additional_special_tokens"

# What Hugging Face takes for a token that is given as a mere text after the tokenizer was made.
STRIPPING = {"lstrip": True, "rstrip": True}


# Held while a tokenizer is changed. One for all of them: changes are rare and short, and a lock cannot be copied or pickled.
CHANGE = threading.RLock()


class Tables(NamedTuple):
    """All tokens that are not the model's own. Once a tokenizer has them they are never written to: see `CHANGE`."""

    named: dict[str, AddedToken | None]
    additional: list[AddedToken]
    added: dict[int, AddedToken]  # by id, in the order in which they were added
    ids: dict[str, int]

    def copy(self) -> "Tables":
        """To be written to, until it is put in the place of these."""
        return Tables(dict(self.named), list(self.additional), dict(self.added), dict(self.ids))

    def special(self) -> list[str]:
        """The texts of the special tokens: named ones in the order of their names, then the others."""
        return list(dict.fromkeys(t.content for t in [*self.named.values(), *self.additional] if t is not None))

    def enter(self, index: int, token: AddedToken, own: int | None) -> None:
        """Adds a token that the model has as `own`, if at all. Raises ValueError where ids disagree."""
        if index < 0 or own not in (None, index):
            raise ValueError(f"the token {token.content!r} cannot have the id {index}: the model has it as {own}")
        if self.ids.get(token.content, index) != index:
            raise ValueError(f"the token {token.content!r} is given two ids, {self.ids[token.content]} and {index}")
        if index in self.added and self.added[index].content != token.content:
            raise ValueError(
                f"the id {index} is given to two tokens, {self.added[index].content!r} and {token.content!r}"
            )
        self.added[index] = token
        self.ids[token.content] = index


class _Named:
    """`tokenizer.pad_token`: its text, or None where it is not set. What is set to it must be in the vocabulary."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, tokenizer: "SpecialTokens", owner: type | None = None) -> Any:
        if tokenizer is None:
            return self
        token = tokenizer._tables.named[self._name]
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
        token = tokenizer._tables.named[self._name]
        return None if token is None else tokenizer._id_of(token.content)

    def __set__(self, tokenizer: "SpecialTokens", value: int | None) -> None:
        index = None if value is None else as_integer(f"{self._name}_id", value)
        tokenizer._set_named(self._name, None if index is None else tokenizer._token_of(index))


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
    do_lower_case: bool

    _tables: Tables

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
        """Called, under `CHANGE`, after these were entered into `_tables`. What it raises takes them out again."""

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
        tables = Tables(dict.fromkeys(SPECIAL_TOKEN_NAMES), [], {}, {})
        for index, value in (added_tokens_decoder or {}).items():
            token = AddedToken.of(value)
            tables.enter(_index(index), token, self._base_id(token.content))

        def saved(name: str, value: Any, **flags: Any) -> AddedToken:
            if isinstance(value, str) and value in tables.ids:
                return tables.added[tables.ids[value]].with_flags(special=True)
            return self._token(name, value, special=True, **flags)

        named = {name: saved(name, value) for name, value in named.items() if value is not None}
        tables.named.update(named)
        others = [saved(ADDITIONAL, value, **STRIPPING) for value in additional]
        special = {token.content: token for token in others}
        special |= {t.content: t for t in tables.added.values() if t.special and t.content not in special}
        texts = {token.content for token in named.values()}
        tables.additional.extend(token for text, token in special.items() if text not in texts)
        self._add(tables, [*named.values(), *tables.additional], special=True)
        self._tables = tables
        self._tokens_added(list(tables.added.values()))

    def __getstate__(self) -> dict[str, Any]:
        """What is copied and pickled: not in the middle of a change."""
        with CHANGE:
            return dict(self.__dict__)

    def _token(self, name: str, value: Any, **flags: Any) -> AddedToken:
        try:
            token = AddedToken.of(value, **flags)
        except TypeError as error:
            raise TypeError(f"{name}: {error}") from None
        if not token.content:
            raise ValueError(f"{name} must not be empty")
        return token

    def _set_named(self, name: str, value: Any) -> None:
        token = None if value is None else self._token(name, value, special=True, **STRIPPING)
        with CHANGE:
            if token is not None:
                self._require_in_vocabulary(name, token.content)
            self._tables = self._tables._replace(named=self._tables.named | {name: token})

    def _require_in_vocabulary(self, name: str, text: str) -> None:
        if text not in self._tables.ids and self._base_id(text) is None:
            raise ValueError(
                f"{name}: {text!r} is not in the vocabulary; add_special_tokens adds it and sets {name} in one step"
            )

    # --- adding ---

    def add_tokens(self, new_tokens: Any, special_tokens: bool = False) -> int:
        """Adds one token or a list of them (texts or AddedTokens) and returns how many the vocabulary did not have.

        New ones get the next ids: a model then needs as many more rows in its embeddings. All are found in texts from now
        on. A mere text takes the white space around it away, as in Hugging Face's. Several threads may add tokens: each gets
        an id of its own. Raises TypeError for anything but a token; then none is added.
        """
        special_tokens = as_switch("special_tokens", special_tokens)
        if not isinstance(new_tokens, list | tuple):
            new_tokens = [new_tokens] if new_tokens else []
        normalized = {"normalized": not special_tokens}
        tokens = [AddedToken.of(t, **STRIPPING, **normalized) for t in new_tokens]
        with CHANGE:
            return self._add_and_tell(self._tables.copy(), tokens, special_tokens)

    def add_special_tokens(
        self, special_tokens_dict: Mapping[str, Any], replace_additional_special_tokens: bool = True
    ) -> int:
        """Adds tokens and gives them their names, as in {"pad_token": "<pad>", "additional_special_tokens": ["<a>"]}.

        Returns how many the vocabulary did not have. Additional ones take the place of those before, which stay in the
        vocabulary, unless `replace_additional_special_tokens` is False. Raises ValueError for an unknown name, TypeError
        for anything but a dictionary.
        """
        replace = as_switch("replace_additional_special_tokens", replace_additional_special_tokens)
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
        with CHANGE:
            tables = self._tables.copy()
            tables.named.update(named)
            if additional is not None:
                kept = [] if replace else tables.additional
                tables.additional[:] = {token.content: token for token in [*kept, *additional]}.values()
            return self._add_and_tell(tables, [*named.values(), *(additional or [])], special=True)

    def _add_and_tell(self, tables: Tables, tokens: list[AddedToken], special: bool) -> int:
        """Puts `tables`, with the tokens, in the place of the tokenizer's own. The caller holds `CHANGE`."""
        before, length = self._tables, len(self)
        entered = self._add(tables, tokens, special)
        self._tables = tables
        try:
            self._tokens_added(entered)
        except BaseException:
            self._tables = before
            raise
        return len(self) - length

    def _add(self, tables: Tables, tokens: Iterable[AddedToken], special: bool) -> list[AddedToken]:
        entered = []
        special_texts = set(tables.special())
        free = self._count(tables)
        for token in tokens:
            if not token.content:
                continue
            if special:
                token = token.with_flags(special=True)
            elif self.do_lower_case and token.normalized and not token.special:
                token = token.with_flags(content=token.content.lower())
            own = self._base_id(token.content)
            index = tables.ids.get(token.content, own)
            if index is None:
                while free in tables.added:  # ids that a file gave out may leave gaps
                    free += 1
                index = free
            tables.enter(index, token, own)
            if token.special and token.content not in special_texts:
                special_texts.add(token.content)
                tables.additional.append(token)
            entered.append(token)
        return entered

    def __len__(self) -> int:
        """V, and as many more as tokens were added to the model's own."""
        return self._count(self._tables)

    def _count(self, tables: Tables) -> int:
        size = self.vocab_size
        return size + sum(index >= size for index in tables.added)

    # --- looking up ---

    def _id_of(self, token: str) -> int:
        index = self._tables.ids.get(token)
        if index is None:
            index = self._base_id(token)
        return self._unknown_id if index is None else index

    def _token_of(self, index: int) -> str:
        added = self._tables.added.get(index)
        if added is not None:
            return added.content
        if not 0 <= index < self.vocab_size:
            raise IndexError(f"id {index} is not in the vocabulary of {len(self)} tokens")
        return self._base_token(index)

    def get_added_vocab(self) -> dict[str, int]:
        """The tokens that are found literally in texts, with their ids: special ones and those that were added."""
        return dict(self._tables.ids)

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        """The same, sorted by id."""
        return {token.content: index for index, token in self.added_tokens_decoder.items()}

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """The same the other way round, with the tokens' flags."""
        return dict(sorted(self._tables.added.items()))

    @property
    def additional_special_tokens(self) -> list[str]:
        """Special tokens without a name. What is set to it must be in the vocabulary."""
        return [token.content for token in self._tables.additional]

    @additional_special_tokens.setter
    def additional_special_tokens(self, values: Iterable[Any] | None) -> None:
        tokens = [self._token(ADDITIONAL, value, special=True, **STRIPPING) for value in values or ()]
        with CHANGE:
            for token in tokens:
                self._require_in_vocabulary(ADDITIONAL, token.content)
            self._tables = self._tables._replace(additional=tokens)

    @property
    def additional_special_tokens_ids(self) -> list[int]:
        """Their ids, in the same order."""
        return [self._id_of(token) for token in self.additional_special_tokens]

    @additional_special_tokens_ids.setter
    def additional_special_tokens_ids(self, values: Iterable[int]) -> None:
        self.additional_special_tokens = [self._token_of(as_integer(f"{ADDITIONAL}_ids", i)) for i in values]

    @property
    def special_tokens_map_extended(self) -> dict[str, AddedToken | list[AddedToken]]:
        """Name to token, with flags, of all special tokens that are set."""
        tables = self._tables
        tokens: dict[str, AddedToken | list[AddedToken]] = {n: token for n, token in tables.named.items() if token}
        return {**tokens, ADDITIONAL: list(tables.additional)} if tables.additional else tokens

    @property
    def special_tokens_map(self) -> dict[str, Any]:
        """Name to text of all special tokens that are set."""
        tables = self._tables
        tokens: dict[str, Any] = {name: token.content for name, token in tables.named.items() if token}
        return {**tokens, ADDITIONAL: [token.content for token in tables.additional]} if tables.additional else tokens

    @property
    def all_special_tokens_extended(self) -> list[AddedToken]:
        """Each special token once, with flags: named ones in the order of their names, then the others."""
        tokens: dict[str, AddedToken] = {}
        tables = self._tables
        for token in [*tables.named.values(), *tables.additional]:
            if token is not None:
                tokens.setdefault(token.content, token)
        return list(tokens.values())

    @property
    def all_special_tokens(self) -> list[str]:
        """Their texts."""
        return self._tables.special()

    @property
    def all_special_ids(self) -> list[int]:
        """Their ids, in the same order."""
        return [self._id_of(token) for token in self.all_special_tokens]


def _index(value: Any) -> int:
    """An id, which JSON has as a text."""
    try:
        return int(value) if isinstance(value, str) else as_integer("an id", value)
    except (TypeError, ValueError):
        raise ValueError(f"added_tokens_decoder: an id must be an integer, got {value!r}") from None
