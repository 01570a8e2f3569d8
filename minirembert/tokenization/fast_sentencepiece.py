"""What a SentencePiece file says: its pieces, scores and settings, read straight from the file's bytes.

The file is a Protocol Buffers message: a list of fields, each a number, a kind and a value. Only the fields that a
pipeline of the `tokenizers` library needs are read here, so the protobuf package is not needed; a test compares with it.
The numbers of the fields stand in SentencePiece's `sentencepiece_model.proto`.
"""

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # kinds of pieces
UNIGRAM = 1  # a kind of model

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # kinds of fields


class Piece(NamedTuple):
    """One entry of the vocabulary; `kind` is NORMAL, UNKNOWN or another of the kinds of pieces above."""

    text: str
    score: float
    kind: int


class SentencePieceFile(NamedTuple):
    """`charsmap` is a compiled map of characters, empty where the model maps none."""

    pieces: list[Piece]
    model_type: int
    charsmap: bytes
    add_dummy_prefix: bool
    remove_extra_whitespaces: bool
    escape_whitespaces: bool
    treat_whitespace_as_suffix: bool

    @property
    def unk_id(self) -> int:
        """The id of the one piece that stands for unknown characters."""
        return next(i for i, piece in enumerate(self.pieces) if piece.kind == UNKNOWN)


def read_sentencepiece(model: bytes, name: str = "the model") -> SentencePieceFile:
    """What the bytes of a file say. Raises ValueError, naming it `name`, for anything but a SentencePiece model."""
    try:
        pieces = []
        trainer: dict[int, Any] = {}
        normalizer: dict[int, Any] = {}
        for number, value in _fields(model):
            if number == 1:
                fields = dict(_fields(value))
                (score,) = struct.unpack("<f", fields.get(2, bytes(4)))
                pieces.append(Piece(fields[1].decode(), score, fields.get(3, NORMAL)))
            elif number == 2:
                trainer |= dict(_fields(value))
            elif number == 3:
                normalizer |= dict(_fields(value))
        unknown = sum(piece.kind == UNKNOWN for piece in pieces)
        if unknown != 1:
            raise ValueError(f"it has {unknown} pieces for unknown characters, not one")
        return SentencePieceFile(
            pieces=pieces,
            model_type=trainer.get(3, UNIGRAM),
            charsmap=bytes(normalizer.get(2, b"")),
            add_dummy_prefix=bool(normalizer.get(3, True)),
            remove_extra_whitespaces=bool(normalizer.get(4, True)),
            escape_whitespaces=bool(normalizer.get(5, True)),
            treat_whitespace_as_suffix=bool(trainer.get(24, False)),
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, struct.error) as error:
        reason = error if isinstance(error, ValueError) else f"a field is not what it should be ({error})"
        raise ValueError(f"{name} is not a SentencePiece model: {reason}") from error


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of each field: an integer for a varint, the bytes of anything else."""
    position, end = 0, len(message)
    while position < end:
        key, position = _varint(message, position)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value, position = _varint(message, position)
            yield number, value
            continue
        if kind == BYTES:
            length, position = _varint(message, position)
        elif kind in (FIXED32, FIXED64):
            length = 4 if kind == FIXED32 else 8
        else:
            raise ValueError(f"a field of the unknown kind {kind} before byte {position}")
        if position + length > end:
            raise ValueError(f"it ends within a field of {length} bytes")
        yield number, message[position : position + length]
        position += length


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """An integer, seven bits a byte, lowest first; the eighth says that more follow. And the position behind it."""
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError(f"an integer of more than 64 bits before byte {position}")
