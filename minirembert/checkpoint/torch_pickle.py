"""The pickles inside of PyTorch's files, read by a machine that knows twenty-odd instructions and can call nothing.

A pickle is a program: it may name any function of any installed module and have it called. Python's own `Unpickler` can be
told to look up nothing else, but still takes its word for lengths and numbers of memory cells. This one makes dictionaries,
lists, tuples, texts and numbers, and knows what PyTorch's few names mean; any other name ends the reading. Its memory is
bounded by the length of the pickle, which the caller bounds.
"""

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

STORAGES = {
    "DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16",
    "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8",
    "BoolStorage": "BOOL", "ComplexFloatStorage": "C64",
}  # fmt: skip
# Only _rebuild_tensor_v2 and OrderedDict are in files that people have; the others are what older or newer versions write.
FUNCTIONS = {
    "collections.OrderedDict", "torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2", "torch.Size",
    "torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state",
}  # fmt: skip
LONGEST_NUMBER = 16  # bytes


class PickleError(ValueError):
    """A pickle that makes no tensors; what is wrong with it, without the name of its file."""


class Global(NamedTuple):
    """A name that the pickle refers to."""

    name: str


class Storage(NamedTuple):
    """A run of numbers that lies elsewhere in the file."""

    dtype: str
    key: str
    length: int  # numbers


class View(NamedTuple):
    """A tensor: some of the numbers of a storage. Nothing about it is checked yet."""

    storage: Storage
    offset: Any
    shape: Any
    strides: Any


MARK = object()


def unpickle(data: bytes, position: int = 0) -> tuple[Any, int]:
    """What the pickle at `position` makes, and where it ends. Raises PickleError."""
    machine = _Machine(data, position)
    try:
        return machine.run(), machine.position
    except PickleError:
        raise
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, struct.error) as error:
        # an instruction found something else on the stack than it needs; messages of Python's own would tell a user nothing
        raise PickleError(f"its pickle makes no sense near byte {machine.position}") from error


class _Machine:
    def __init__(self, data: bytes, position: int) -> None:
        self.data, self.position = data, position
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        while True:
            code = self.take(1)
            if code == b".":
                return self.stack.pop()
            instruction = INSTRUCTIONS.get(code)
            if instruction is None:
                raise PickleError(f"its pickle has the instruction {code!r}, which no tensor needs")
            instruction(self)

    # --- reading the program --------------------------------------------------------------------------------------

    def take(self, count: int) -> bytes:
        end = self.position + count
        if count < 0 or end > len(self.data):
            raise PickleError("its pickle ends too soon, or is longer than the limit")
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def skip(self, count: int) -> None:
        self.take(count)

    def number(self, form: str) -> int:
        return int(struct.unpack(form, self.take(struct.calcsize(form)))[0])

    def line(self) -> str:
        end = self.data.index(b"\n", self.position, self.position + 1000)
        text = self.take(end - self.position).decode("utf-8")
        self.take(1)
        return text

    def text(self, form: str) -> str:
        return self.take(self.number(form)).decode("utf-8")

    # --- the stack ------------------------------------------------------------------------------------------------

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is MARK:
            raise PickleError("its pickle takes a mark for a value")
        return value

    def drop(self) -> None:
        self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        start = len(self.stack) - 1
        while self.stack[start] is not MARK:
            start -= 1
            if start < 0:
                raise PickleError("its pickle lacks a mark")
        values = self.stack[start + 1 :]
        del self.stack[start:]
        return values

    def pop_tuple(self, count: int) -> tuple[Any, ...]:
        return tuple(reversed([self.pop() for _ in range(count)]))

    def set_items(self, pairs: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(pairs) % 2:
            raise PickleError("its pickle sets items of something that has none")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if not isinstance(key, str | int):
                raise PickleError("its pickle has a key that is neither text nor number")
            if key in target:
                raise PickleError(f"its pickle has the key {str(key)[:80]!r} twice")
            target[key] = value

    def append(self, values: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise PickleError("its pickle appends to something that is no list")
        self.stack[-1].extend(values)

    # --- names, calls and storages --------------------------------------------------------------------------------

    def find(self, module: str, name: str) -> None:
        full = f"{module}.{name}"
        if full not in FUNCTIONS and not (module in ("torch", "torch.cuda") and name in STORAGES):
            raise PickleError(f"its pickle asks for {full[:80]!r}, which is no part of a tensor; nothing was run")
        self.push(Global(full))

    def stack_global(self) -> None:
        module, name = self.pop_tuple(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleError("its pickle refers to a name that is no text")
        self.find(module, name)

    def reduce(self) -> None:
        function, arguments = self.pop_tuple(2)
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise PickleError("its pickle calls something that is no function")
        match function.name.rpartition(".")[2]:
            case "OrderedDict":
                self.push({})
                if arguments:  # Python 2's are made from a list of pairs
                    self.set_items([part for pair in arguments[0] for part in pair])
            case "_rebuild_tensor" | "_rebuild_tensor_v2":
                storage, offset, shape, strides = arguments[:4]
                if not isinstance(storage, Storage):
                    raise PickleError("its pickle makes a tensor of something that is no storage")
                self.push(View(storage, offset, shape, strides))
            case "_rebuild_parameter" | "_rebuild_parameter_with_state" | "Size":
                self.push(arguments[0])
            case name:
                raise PickleError(f"its pickle calls {name}, which is no function")

    def build(self) -> None:
        """Attributes for an object; a state_dict has one with the versions of its modules. Nobody needs it."""
        self.pop()
        if not isinstance(self.stack[-1], dict):
            raise PickleError("its pickle sets attributes of something that has none")

    def storage(self) -> None:
        kind, of, key, _, count, *views = self.pop()
        dtype = STORAGES.get(of.name.rpartition(".")[2]) if isinstance(of, Global) else None
        if kind != "storage" or dtype is None or not isinstance(key, str) or not isinstance(count, int):
            raise PickleError("its pickle refers to something that is no storage")
        if any(view is not None for view in views):
            raise PickleError("it has storages inside of storages, as PyTorch before 0.4 wrote them: not supported")
        self.push(Storage(dtype, key, count))

    def long(self, form: str) -> None:
        count = self.number(form)
        if not 0 <= count <= LONGEST_NUMBER:
            raise PickleError(f"its pickle has a number of {count:,} bytes")
        self.push(int.from_bytes(self.take(count), "little", signed=True))

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]


Instruction = Callable[[_Machine], None]

# Python's `pickletools` says what each of them does.
INSTRUCTIONS: dict[bytes, Instruction] = {
    b"\x80": lambda m: m.skip(1),  # the protocol
    b"\x95": lambda m: m.skip(8),  # the length of a frame
    b"(": lambda m: m.push(MARK),
    b"0": lambda m: m.drop(),
    b"2": lambda m: m.push(m.stack[-1]),
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"J": lambda m: m.push(m.number("<i")),
    b"K": lambda m: m.push(m.number("<B")),
    b"M": lambda m: m.push(m.number("<H")),
    b"G": lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    b"\x8a": lambda m: m.long("<B"),
    b"\x8b": lambda m: m.long("<i"),
    b"X": lambda m: m.push(m.text("<I")),
    b"\x8c": lambda m: m.push(m.text("<B")),
    b"\x8d": lambda m: m.push(m.text("<Q")),
    b"T": lambda m: m.push(m.text("<i")),
    b"U": lambda m: m.push(m.text("<B")),
    b"}": lambda m: m.push({}),
    b"]": lambda m: m.push([]),
    b")": lambda m: m.push(()),
    b"t": lambda m: m.push(tuple(m.pop_to_mark())),
    b"\x85": lambda m: m.push(m.pop_tuple(1)),
    b"\x86": lambda m: m.push(m.pop_tuple(2)),
    b"\x87": lambda m: m.push(m.pop_tuple(3)),
    b"s": lambda m: m.set_items(list(m.pop_tuple(2))),
    b"u": lambda m: m.set_items(m.pop_to_mark()),
    b"a": lambda m: m.append([m.pop()]),
    b"e": lambda m: m.append(m.pop_to_mark()),
    b"c": lambda m: m.find(m.line(), m.line()),
    b"\x93": lambda m: m.stack_global(),
    b"R": lambda m: m.reduce(),
    b"b": lambda m: m.build(),
    b"Q": lambda m: m.storage(),
    b"q": lambda m: m.put(m.number("<B")),
    b"r": lambda m: m.put(m.number("<I")),
    b"\x94": lambda m: m.put(len(m.memo)),
    b"h": lambda m: m.push(m.memo[m.number("<B")]),
    b"j": lambda m: m.push(m.memo[m.number("<I")]),
}
