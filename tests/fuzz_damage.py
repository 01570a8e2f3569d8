"""Ways to damage a weight file: blindly, and by its structure. Every one is a function of a random generator."""

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

Damage = Callable[[bytes, random.Random], bytes]

NUMBERS = (0, 1, 2, 7, 8, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63, 2**64 - 1)
JSON_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 3, 2**31, 2**63, 10**30, 1.5, float("nan"), float("inf"), "", "F32", "F64", "BF16", "I64", "x",
    "../model.safetensors", "/etc/passwd", "C:\\x", "\x00", "\ud800", [], [0], [1, 2], [0, 2**62], [-1, 4], {}, {"a": 1},
)  # fmt: skip


# --- whatever the format ----------------------------------------------------------------------------------------------


def place(data: bytes, rng: random.Random) -> int:
    """Somewhere, more often near the ends, where tables of contents are."""
    if not data:
        return 0
    near = rng.choice((64, 512, 4096, len(data)))
    return rng.choice((rng.randrange(min(near, len(data))), len(data) - 1 - rng.randrange(min(near, len(data)))))


def flip_bits(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64)) if data else 0):
        changed[place(data, rng)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def write_number(data: bytes, rng: random.Random) -> bytes:
    """An interesting number of one, two, four or eight bytes over what stands there."""
    at, width = place(data, rng), rng.choice((1, 2, 4, 8))
    number = rng.choice((*NUMBERS, len(data), len(data) - 1, len(data) + 1, at, at + width)) % 256**width
    return data[:at] + number.to_bytes(width, rng.choice(("little", "little", "big"))) + data[at + width :]


def cut_short(data: bytes, rng: random.Random) -> bytes:
    return data[: place(data, rng)]


def cut_out(data: bytes, rng: random.Random) -> bytes:
    at = place(data, rng)
    return data[:at] + data[at + rng.choice((1, 2, 8, 64, 1000)) :]


def put_in(data: bytes, rng: random.Random) -> bytes:
    at = place(data, rng)
    return data[:at] + rng.randbytes(rng.choice((1, 2, 8, 64, 1000))) + data[at:]


def splice(data: bytes, rng: random.Random) -> bytes:
    """A piece of the file over another."""
    start, at = place(data, rng), place(data, rng)
    piece = data[start : start + rng.choice((1, 4, 8, 32, 256, 4096))]
    return data[:at] + piece + data[at + len(piece) :]


BLIND: tuple[Damage, ...] = (flip_bits, flip_bits, write_number, write_number, cut_short, cut_out, put_in, splice)


# --- JSON -------------------------------------------------------------------------------------------------------------


def change_json(value: Any, rng: random.Random) -> Any:
    """One change somewhere in it: a value replaced, a key dropped, renamed or swapped with another."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        value, key = dict(value), rng.choice(list(value))
        match rng.randrange(8):
            case 0:
                del value[key]
            case 1:
                value[rng.choice(("x", key + "x", "rembert." + key, key.removeprefix("rembert."), ""))] = value[key]
            case 2:
                other = rng.choice(list(value))
                value[key], value[other] = value[other], value[key]
            case 3:
                value[key] = rng.choice(JSON_VALUES)
            case _:
                value[key] = change_json(value[key], rng)
        return value
    if isinstance(value, list) and value and rng.random() < 0.9:
        value, at = list(value), rng.randrange(len(value))
        value[at] = change_json(value[at], rng)
        return value if rng.random() < 0.8 else value + value
    if isinstance(value, int) and rng.random() < 0.5:
        return value + rng.choice((-4, -1, 1, 4, 2**32, 2**60))
    return rng.choice(JSON_VALUES)


def json_text(value: Any, rng: random.Random) -> bytes:
    """Now and then with a bomb in it."""
    text = json.dumps(value)
    match rng.randrange(12):
        case 0:
            text = text[:-1] + ', "deep": ' + "[" * 100_000 + "]" * 100_000 + "}"
        case 1:
            text = text[:-1] + ", " + text[1:]  # every key twice
        case 2:
            text = text.replace("[", "[" + "9" * 5000 + ",", 1)
    return text.encode("utf-8", "surrogatepass")


def safetensors_header(data: bytes, rng: random.Random) -> bytes:
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    for _ in range(rng.choice((1, 1, 2))):
        header = change_json(header, rng)
    text = json_text(header, rng)
    stated = len(text) if rng.random() < 0.9 else rng.choice(NUMBERS)
    return struct.pack("<Q", stated % 2**64) + text + data[8 + length :]


def index(data: bytes, rng: random.Random) -> bytes:
    return json_text(change_json(json.loads(data), rng), rng)


# --- all of them --------------------------------------------------------------------------------------------------------

STRUCTURED: dict[str, tuple[Damage, ...]] = {
    ".safetensors": (safetensors_header,),
    ".json": (index,),
}


def damaged(path: Path, rng: random.Random) -> bytes:
    """The content of `path`, damaged once to three times."""
    data = path.read_bytes()
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        ways = STRUCTURED[path.suffix] if rng.random() < 0.6 else BLIND
        try:
            data = rng.choice(ways)(data, rng)
        except Exception:  # damaged already beyond what its structure says
            data = rng.choice(BLIND)(data, rng)
    return data
