"""A tokenizer's folder: the JSON files beside its model, as transformers 4.34 writes them and as versions before and after.

tokenizer_config.json     the constructor's arguments, and every added token with its id and flags
special_tokens_map.json   the special tokens by name; read only where the first file has no added tokens
added_tokens.json         every added token with its id; read only there, too
tokenizer.json            the whole fast tokenizer; a slow one takes added tokens from it if nobody else names any
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from minirembert.files import atomic_file, json_text, read_json
from minirembert.scalars import is_integer
from minirembert.tokenization.added_tokens import AddedToken
from minirembert.tokenization.special_tokens import ADDITIONAL, SPECIAL_TOKEN_NAMES

EXTRA = "extra_special_tokens"  # what transformers 5 calls ADDITIONAL; a dictionary there gives each a name of its own
VOCAB_FILE = "sentencepiece.model"
TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
SPECIAL_TOKENS_FILE = "special_tokens_map.json"
ADDED_TOKENS_FILE = "added_tokens.json"
LARGEST_TOKENIZER_FILE = 64 * 2**20  # bytes; google/rembert's vocabulary takes 17 million


def named(folder: Path, prefix: str | None, name: str) -> Path:
    """The path of a file, with the prefix that its writer asked for."""
    return folder / (f"{prefix}-{name}" if prefix else name)


Contents = dict[str, bytes | None]  # of files, by name; None: the file goes


def json_content(name: str, values: Mapping[Any, Any]) -> bytes:
    """An object, sorted by its keys. Raises ValueError for what JSON cannot hold, naming the file and the place in it."""
    return json_text(_in_order(values), name, readable=True).encode()


def _in_order(values: Any) -> Any:
    """Sorted by its keys, numbers by their value; JSON has only strings for keys."""
    if isinstance(values, Mapping):
        return {str(key): _in_order(values[key]) for key in sorted(values)}
    return [_in_order(value) for value in values] if isinstance(values, list | tuple) else values


def write_all(folder: Path, prefix: str | None, contents: Contents) -> tuple[str, ...]:
    """Writes the files, each whole or not at all, removes those without a content, and returns the paths of the others."""
    for name, content in contents.items():
        path = named(folder, prefix, name)
        if content is None:
            path.unlink(missing_ok=True)
            continue
        with atomic_file(path) as temporary:
            temporary.write_bytes(content)
    return tuple(str(named(folder, prefix, name)) for name, content in contents.items() if content is not None)


def settings_contents(
    settings: Mapping[str, Any], special: Mapping[str, Any], added: Mapping[int, AddedToken]
) -> Contents:
    """tokenizer_config.json and special_tokens_map.json."""
    decoder = {index: {"content": token.content, **token.flags} for index, token in added.items()}
    config = {**settings, **special, "added_tokens_decoder": decoder}
    config.setdefault(ADDITIONAL, [])
    return {
        CONFIG_FILE: json_content(CONFIG_FILE, config),
        SPECIAL_TOKENS_FILE: json_content(SPECIAL_TOKENS_FILE, special),
    }


def read_settings(folder: Path, known: Iterable[str]) -> dict[str, Any]:
    """The arguments in `known` that the folder's files hold, `added_tokens_decoder` always among them.

    Raises ValueError, naming the file, for one that is not a JSON object, or does not hold tokens where they belong.
    """
    config = _read(folder / CONFIG_FILE)
    if "added_tokens_decoder" in config:
        added = _tokens(config["added_tokens_decoder"], folder / CONFIG_FILE)
    else:  # written before transformers 4.34, or after 4: the other files have the last word
        config |= _read(folder / SPECIAL_TOKENS_FILE)
        added = _tokens_of_other_files(folder, {_text(config.get(name)) for name in SPECIAL_TOKEN_NAMES})
    if EXTRA in config and ADDITIONAL not in config:
        extra = config[EXTRA]
        config[ADDITIONAL] = list(extra.values()) if isinstance(extra, dict) else extra
    settings = {name: value for name, value in config.items() if name in set(known)}
    for name in settings.keys() & set(SPECIAL_TOKEN_NAMES):
        settings[name] = _token(folder, name, settings[name])
    if ADDITIONAL in settings:
        tokens = settings[ADDITIONAL] or []
        if not isinstance(tokens, list):
            raise ValueError(f"{folder}: {ADDITIONAL} must be a list of tokens, found {tokens!r}"[:200])
        settings[ADDITIONAL] = [_token(folder, ADDITIONAL, token) for token in tokens]
    return {**settings, "added_tokens_decoder": added}


def _read(path: Path) -> dict[str, Any]:
    """The object in a settings file; nothing where there is no such file."""
    return read_json(path) if path.exists() else {}


def _tokens(values: Any, path: Path) -> dict[int, AddedToken]:
    try:
        return {int(index): AddedToken.of(token) for index, token in values.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: added_tokens_decoder must map ids to tokens: {error}") from None


def _tokens_of_other_files(folder: Path, special: set[Any]) -> dict[int, AddedToken]:
    """From added_tokens.json, where tokens have no flags: Hugging Face takes the white space around those without a name."""
    path = folder / ADDED_TOKENS_FILE
    if path.exists():
        flags = {text: {"normalized": False, "special": True} for text in special}
        strip = {"lstrip": True, "rstrip": True}
        ids = _read(path)
        if not all(map(is_integer, ids.values())):
            raise ValueError(f"{path} must map tokens to ids, found {ids!r}"[:200])
        return {index: AddedToken(text, **flags.get(text, strip)) for text, index in ids.items()}
    if (folder / TOKENIZER_FILE).exists():
        tokens = read_json(folder / TOKENIZER_FILE, LARGEST_TOKENIZER_FILE).get("added_tokens", [])
        try:
            return {int(token["id"]): AddedToken.of(token) for token in tokens}
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{folder / TOKENIZER_FILE}: added_tokens must be tokens with ids: {error}") from None
    return {}


def _token(folder: Path, name: str, value: Any) -> Any:
    """A text or None as it is, an object as a token with flags."""
    if value is None or isinstance(value, str):
        return value
    try:
        return AddedToken.of(value)
    except TypeError as error:
        raise ValueError(f"{folder}: {name}: {error}"[:200]) from None


def _text(token: Any) -> Any:
    return token.get("content") if isinstance(token, dict) else token
