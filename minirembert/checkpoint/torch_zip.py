"""The directory of a zip archive whose members are stored as they are, as PyTorch writes it.

Python's zipfile module forgives much that these files never have: compression, members that overlap, junk in front, two
members of one name. Here all of that is an error, and nothing is unpacked.
"""

import struct
from pathlib import Path
from typing import NamedTuple

from minirembert.checkpoint.tensors import HEADER_LIMIT, damaged, shown

END, END64, LOCATOR64 = struct.Struct("<4s4H2IH"), struct.Struct("<4sQ2H2I4Q"), struct.Struct("<4sIQI")
ENTRY, LOCAL = struct.Struct("<4s6H3I5H2I"), struct.Struct("<4s5H3I2H")
TOO_BIG_16, TOO_BIG_32 = 0xFFFF, 0xFFFFFFFF  # "see the 64-bit field"
LIMITS = (TOO_BIG_16, TOO_BIG_32, TOO_BIG_32)
ENCRYPTED = 1


class Member(NamedTuple):
    offset: int  # bytes from the start of the file to its content
    size: int


class Entry(NamedTuple):
    """A line of the directory."""

    name: bytes
    header: int  # where its local header stands
    size: int


def read_directory(path: Path) -> dict[str, Member]:
    """The members by name. Raises ValueError for a damaged file, and for one that PyTorch cannot have written."""
    members: dict[str, Member] = {}
    with path.open("rb") as file:
        start, end, count = _find_directory(path)
        if end - start > HEADER_LIMIT:
            raise damaged(path, f"its directory takes {end - start:,} bytes, and {HEADER_LIMIT:,} are the limit")
        file.seek(start)
        entries = _entries(path, file.read(end - start))
        if len(entries) != count:
            raise damaged(path, f"its directory has {len(entries):,} members instead of {count:,}")
        free = 0  # up to where members have claimed the file
        for entry in sorted(entries, key=lambda entry: entry.header):
            name = entry.name.decode("utf-8", "backslashreplace")
            file.seek(entry.header)
            header = file.read(LOCAL.size)
            if len(header) < LOCAL.size or header[:4] != b"PK\x03\x04":
                raise damaged(path, f"its member {shown(name)} is not where the directory says")
            *_, name_length, extra_length = LOCAL.unpack(header)
            offset = entry.header + LOCAL.size + name_length + extra_length
            if file.read(name_length) != entry.name:
                raise damaged(path, f"its member {shown(name)} has two names")
            if entry.header < free or offset + entry.size > start:
                raise damaged(path, f"its member {shown(name)} overlaps another, or the directory")
            if name in members:
                raise damaged(path, f"it has two members named {shown(name)}")
            free = offset + entry.size
            members[name] = Member(offset, entry.size)
    return members


def _find_directory(path: Path) -> tuple[int, int, int]:
    """Where the directory begins and ends, and how many members it has."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(size - END.size - LOCATOR64.size, 0))
        tail = file.read()
        end = size - END.size
        if len(tail) < END.size + LOCATOR64.size or tail[-END.size :][:4] != b"PK\x05\x06":
            raise damaged(path, "the end of its zip directory is missing")
        _, _, _, _, count, length, start, _ = END.unpack(tail[-END.size :])
        signature, _, place, _ = LOCATOR64.unpack(tail[: LOCATOR64.size])
        if signature == b"PK\x06\x07":  # the same in 64 bits; PyTorch writes it always
            file.seek(min(place, size))
            record = file.read(END64.size)
            if len(record) < END64.size or record[:4] != b"PK\x06\x06":
                raise damaged(path, "the end of its zip directory is missing")
            narrow, (*_, count, length, start) = (count, length, start), END64.unpack(record)
            wide = (min(count, TOO_BIG_16), min(length, TOO_BIG_32), min(start, TOO_BIG_32))
            if any(n not in (w, limit) for n, w, limit in zip(narrow, wide, LIMITS, strict=True)):
                raise damaged(path, "its zip directory is described twice, and not alike")
            end = place
    if start + length != end:
        raise damaged(path, "its zip directory is not where it should be")
    return start, end, count


def _entries(path: Path, directory: bytes) -> list[Entry]:
    entries, position = [], 0
    while position < len(directory):
        if len(directory) - position < ENTRY.size:
            raise damaged(path, "its zip directory ends too soon")
        signature, _, _, flags, method, _, _, _, packed, size, name, extra, comment, _, _, _, header = (
            ENTRY.unpack_from(directory, position)
        )
        position += ENTRY.size
        rest = directory[position : position + name + extra + comment]
        position += name + extra + comment
        if signature != b"PK\x01\x02" or len(rest) < name + extra + comment:
            raise damaged(path, "its zip directory makes no sense")
        if flags & ENCRYPTED or method != 0:
            raise damaged(path, f"its member {shown(rest[:name].decode('utf-8', 'replace'))} is packed or encrypted")
        size, packed, header = _wide(path, rest[name : name + extra], [size, packed, header])
        if packed != size:
            raise damaged(path, "a member of it has two sizes")
        entries.append(Entry(rest[:name], header, size))
    return entries


def _wide(path: Path, extra: bytes, numbers: list[int]) -> list[int]:
    """`numbers` with those that did not fit into 32 bits taken from the field of 64-bit ones, where they stand in order."""
    if TOO_BIG_32 not in numbers:
        return numbers
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        field = extra[position + 4 : position + 4 + length]
        if kind == 1 and len(field) >= 8 * numbers.count(TOO_BIG_32):
            wide = iter(struct.unpack_from(f"<{numbers.count(TOO_BIG_32)}Q", field))
            return [next(wide) if number == TOO_BIG_32 else number for number in numbers]
        position += 4 + length
    raise damaged(path, "a member of it is large, and its size is missing")
