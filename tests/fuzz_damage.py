"""Ways to damage a weight file: blindly, and by its structure. Every one is a function of a random generator."""

import io
import json
import pickletools
import random
import struct
import zipfile
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


# --- pickles and zip archives -----------------------------------------------------------------------------------------

ATTACKS = (
    b"cos\nsystem\n(X\x04\x00\x00\x00exitt", b"cbuiltins\neval\n(X\x01\x00\x00\x001tR", b"ctorch\nload\n)R",
    b"c__builtin__\ngetattr\n", b"ctorch._utils\n_rebuild_tensor_v2\n(tR", b"ccollections\nOrderedDict\n(]]tR",
    b"(i__builtin__\nprint\n", b"\x8c\x02os\x8c\x06system\x93", b"r\xff\xff\xff\xff", b"\x8e" + b"\xff" * 8, b"2" * 2000,
    b"(" * 2000, b"\x8b\xff\xff\xff\x7f", b"X\xff\xff\xff\xff", b"T\xf0\xff\xff\xff", b"]" + b"]a" * 500, b"Q", b"R", b"0" * 9,
    b"\x82\x01", b"\x81", b"o", b"}" * 100 + b"u", b"h\x05", b"j\x05\x00\x00\x00", b"I99999999999\n", b"N)R", b"b", 
    b"V\\ud800\n",
)  # fmt: skip


def pickle(data: bytes, rng: random.Random) -> bytes:
    """An instruction of a pickle dropped, doubled, swapped, given another argument, or an attack put in."""
    try:
        starts = [position for _, _, position in pickletools.genops(data)]
    except (ValueError, IndexError, KeyError, UnicodeDecodeError):
        return rng.choice(BLIND)(data, rng)
    ends = [*starts[1:], len(data)]
    pick = rng.randrange(len(starts))
    before, code, after = data[: starts[pick]], data[starts[pick] : ends[pick]], data[ends[pick] :]
    match rng.randrange(6):
        case 0:
            code = b""
        case 1:
            code = code + code
        case 2:
            other = rng.randrange(len(starts))
            code = data[starts[other] : ends[other]]
        case 3:
            code = rng.choice(ATTACKS) + code
        case 4 if len(code) > 1:
            width = len(code) - 1
            number = rng.choice((*NUMBERS, int.from_bytes(code[1:], "little") + rng.choice((-1, 1)))) % 256**width
            code = code[:1] + number.to_bytes(width, "little")
        case _:
            return rng.choice(BLIND)(before + code, rng) + after if rng.random() < 0.3 else before + b"K\x05" + after
    return before + code + after


def zip_members(data: bytes, rng: random.Random) -> bytes:
    """The archive with one member changed, gone, doubled, renamed or compressed."""
    archive = zipfile.ZipFile(io.BytesIO(data))
    members = [(info.filename, archive.read(info), zipfile.ZIP_STORED) for info in archive.infolist()]
    at = rng.randrange(len(members)) if rng.random() < 0.4 else 0  # data.pkl comes first
    name, content, method = members[at]
    match rng.randrange(7):
        case 0:
            del members[at]
        case 1:
            members.append(members[at])
        case 2:
            members[at] = (rng.choice(("../x", "/etc/passwd", "other/data.pkl", name + "x", "")), content, method)
        case 3:
            members[at] = (name, content, zipfile.ZIP_DEFLATED)
        case _:
            members[at] = (
                name,
                pickle(content, rng) if name.endswith("pkl") else rng.choice(BLIND)(content, rng),
                method,
            )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as new:
        for name, content, method in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            new.writestr(info, content)
    return buffer.getvalue()


def after_signature(*signatures: bytes, reach: int) -> Damage:
    """Numbers written into the `reach` bytes behind one of the places that begin with a signature."""

    def damage(data: bytes, rng: random.Random) -> bytes:
        signature = rng.choice(signatures)
        places, at = [], data.find(signature)
        while at >= 0:
            places.append(at)
            at = data.find(signature, at + 1)
        if not places:
            return rng.choice(BLIND)(data, rng)
        at, width = rng.choice(places) + rng.randrange(reach), rng.choice((1, 2, 4, 8))
        old = int.from_bytes(data[at : at + width], "little")
        number = rng.choice((*NUMBERS, old + 1, old - 1, old + 8, rng.choice(places), len(data))) % 256**width
        return data[:at] + number.to_bytes(width, "little") + data[at + width :]

    return damage


zip_directory = after_signature(b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", reach=46)
# HDF5's superblock, B-trees, symbol tables, heaps, and, by how they begin, object headers and layout messages
h5_structure = after_signature(
    b"\x89HDF",
    b"TREE",
    b"SNOD",
    b"HEAP",
    b"\x01\x00\x06\x00\x01\x00\x00\x00",
    b"\x08\x00\x18\x00",
    b"\x03\x00",
    reach=60,
)


STRUCTURED: dict[str, tuple[Damage, ...]] = {
    ".safetensors": (safetensors_header,),
    ".json": (index,),
    "zip": (zip_members, zip_members, zip_directory),
    "old": (pickle,),
    ".h5": (h5_structure,),
}


def damaged(path: Path, rng: random.Random) -> bytes:
    """The content of `path`, damaged once to three times."""
    data = path.read_bytes()
    kind = path.suffix if path.suffix != ".bin" else "zip" if data[:2] == b"PK" else "old"
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        ways = STRUCTURED[kind] if rng.random() < 0.6 else BLIND
        try:
            data = rng.choice(ways)(data, rng)
        except Exception:  # damaged already beyond what its structure says
            data = rng.choice(BLIND)(data, rng)
    return data
