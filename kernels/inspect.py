"""What a compiler makes of every kernel, for GPUs that need not be there.

    python -m kernels.inspect                                      # everything for A100, H100 and MI300
    python -m kernels.inspect --kernel attention --target sm_90    # kernels with this in their name, on one chip

Nothing here says what a block size is. Every op runs as the model would run it, on arrays of RemBERT's sizes, with two
things replaced: Triton's driver, by one that names a chip and can do nothing else, and the launch, which compiles the
kernel and stops there. So what is compiled is what would be launched: the same blocks, the same warps, the same knowledge
of which pointers and strides are multiples of 16.

Not here: how fast a kernel is, and whether it is right; see `benchmarks/` and `tests/`.
"""

import argparse
import json
import multiprocessing
import os
import re
import struct
import subprocess
import sys
import tempfile
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

os.environ["TRITON_INTERPRET"] = "0"  # before any kernel is defined: here they are compiled

import torch
import triton
from tqdm import tqdm
from triton.backends.compiler import GPUTarget
from triton.compiler.errors import TritonError
from triton.runtime.jit import JITFunction

from kernels import _launch
from kernels.attention import first
from kernels.optimizer import AdamW
from kernels.table import OPS
from minirembert.ops import Op

if _launch.INTERPRETED:
    raise ImportError(
        "kernels.inspect compiles kernels, and here they are interpreted already: give it its own process"
    )


class Chip(NamedTuple):
    """A GPU to compile for, and the limits that its kernels are held to."""

    name: str
    target: GPUTarget
    shared: int  # bytes of shared memory that one block may have
    matrix: str  # the instruction that multiplies matrices
    copies: bool  # whether Triton copies to shared memory asynchronously


# Shared memory of a block: CUDA Programming Guide, appendix "Compute Capabilities" (163 and 227 KB); ROCm documentation,
# "AMD GPU specifications" (64 KiB of LDS).
CHIPS = {
    "sm_80": Chip("A100", GPUTarget("cuda", 80, 32), 163 * 1024, "mma.sync", True),
    "sm_90": Chip("H100, H200", GPUTarget("cuda", 90, 32), 227 * 1024, "wgmma", True),
    "gfx942": Chip("MI300", GPUTarget("hip", "gfx942", 64), 64 * 1024, "mfma", False),
}


# --- what is run ------------------------------------------------------------------------------------------------------


class Workload(NamedTuple):
    """Something the model does, at one size. It runs on the CPU, where arrays that nobody touches take no memory."""

    case: str
    run: Callable[[], None]


def workloads() -> list[Workload]:
    """RemBERT at 8192 tokens: 1152 wide, 4608 in the feed-forward, 1664 in the output embedding, 18 heads of 64."""
    half, fp16, both = (torch.bfloat16,), (torch.float16,), (torch.bfloat16, torch.float32)
    found = []

    def add(op: str, note: str, dtypes: Sequence[torch.dtype], *shapes: tuple[int, ...], **settings: Any) -> None:
        for dtype in dtypes:
            found.append(Workload(f"{op}, {DTYPE_NAMES[dtype]}, {note}", partial(_run_op, op, dtype, shapes, settings)))

    add("softmax", "rows of 512", both, (16, 18, 512, 512))
    add("softmax", "rows of 250300", half, (1024, 250300))
    add("layer_norm", "1664 wide", both, (8192, 1664), (1664,), (1664,), eps=1e-12)
    add("layer_norm", "16384 wide", half, (512, 16384), (16384,), (16384,), eps=1e-12)
    add("residual_layer_norm", "1152 wide", both, (8192, 1152), (8192, 1152), (1152,), (1152,), eps=1e-12)
    add("bias_gelu", "4608 wide", both, (8192, 4608), (4608,))
    add("gelu", "1664 wide", half, (8192, 1664))
    add("tanh", "1152 wide", half, (16, 1152))
    add("dropout", "1152 wide", both, (8192, 1152), drop_prob=0.1, seed=2026)
    for dtype in both:
        note = f"adamw, {DTYPE_NAMES[dtype]}, 4608 x 1152"
        found.append(Workload(note, partial(_run_adamw, dtype, (4608, 1152))))

    heads, dropout = {"num_heads": 18}, {"drop_prob": 0.1, "seed": 2026}
    long, short, packed = [(16, 512, 1152)] * 3, [(64, 128, 1152)] * 3, [(8192, 1152)] * 3
    lengths, starts = torch.full((16,), 512, dtype=torch.int32), torch.arange(0, 8193, 512, dtype=torch.int32)
    short_lengths = torch.full((64,), 128, dtype=torch.int32)
    may_look = torch.ones(512, 512, dtype=torch.bool)
    added, for_every_pair = torch.zeros(16, 1, 1, 512), torch.zeros(512, 512)
    add("attention", "16 x 512", both, *long, **heads)
    add("attention", "16 x 512, lengths", both, *long, **heads, key_lengths=lengths)
    add("attention", "16 x 512, causal", half, *long, **heads, causal=True)
    add("attention", "16 x 500", half, *[(16, 500, 1152)] * 3, **heads)
    add("attention", "16 x 512, causal, boolean bias", fp16, *long, **heads, causal=True, bias=may_look)
    add("attention", "16 x 512, added bias, dropout", half, *long, **heads, **dropout, bias=added)
    add("attention", "16 x 512, 9 heads of 128", both, *long, num_heads=9)
    add("attention", "16 x 512, causal, bias for every pair", half, *long, **heads, causal=True, bias=for_every_pair)
    add("attention", "64 x 128", half, *short, **heads)
    add("attention", "64 x 128, lengths", both, *short, **heads, key_lengths=short_lengths)
    add("attention", "64 x 128, added bias", half, *short, **heads, bias=torch.zeros(64, 1, 1, 128))
    add("attention", "64 x 128, dropout", half, *short, **heads, **dropout)
    add("attention_packed", "16 of 512", half, *packed, **heads, cu_seqlens=starts)
    add(
        "attention_packed",
        "16 of 512, causal, dropout",
        half,
        *packed,
        **heads,
        **dropout,
        cu_seqlens=starts,
        causal=True,
    )
    add("attention_probabilities", "16 x 512", half, *long[:2], **heads)
    for dtype in both:
        run = partial(_run_op, FIRST_RUNG, dtype, long, heads)
        found.append(Workload(f"attention's first rung, {DTYPE_NAMES[dtype]}, 16 x 512", run))
    return found


FIRST_RUNG = "attention, first rung"


def _run_op(name: str, dtype: torch.dtype, shapes: Sequence[tuple[int, ...]], settings: dict[str, Any]) -> None:
    """Forward, then backward if it has one."""
    op = Op(first.attention, first.attention_backward) if name == FIRST_RUNG else OPS[name]
    y, saved = op.forward(*(torch.empty(shape, dtype=dtype) for shape in shapes), **settings)
    if op.backward is not None:
        op.backward(torch.empty_like(y), saved)


def _run_adamw(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    AdamW({"weight": torch.empty(shape, dtype=dtype)}).step({"weight": torch.empty(shape, dtype=dtype)}, 1e-3)


DTYPE_NAMES = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32", torch.float64: "fp64"}


# --- compiling what would be launched -----------------------------------------------------------------------------------


class _NoGpu:
    """Stands in for Triton's driver."""

    def __init__(self, target: GPUTarget) -> None:
        self.target = target

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_current_device(self) -> GPUTarget:
        return self.target  # kernels are kept apart by device

    def get_current_stream(self, device: GPUTarget) -> None:
        return None


@contextmanager
def compiling(target: str, case: str, wanted: Callable[[str], bool] = lambda name: True) -> Iterator[list["Report"]]:
    """Within, `kernel[grid](...)` compiles for `target` and adds to the list, if the kernel's name is wanted."""
    reports: list[Report] = []
    run = JITFunction.run

    def compile_only(kernel: JITFunction, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        if wanted(kernel.__name__):
            reports.append(examine(run(kernel, *args, grid=grid, warmup=True, **kwargs), target, case))

    with (
        mock.patch.object(JITFunction, "run", compile_only),
        mock.patch.object(triton.runtime.driver, "_active", _NoGpu(CHIPS[target].target)),
        mock.patch.object(_launch, "DEVICE", torch.device("cpu")),
    ):
        yield reports


# --- reading what came out ----------------------------------------------------------------------------------------------


@dataclass
class Report:
    """What the compiler made of one kernel for one chip."""

    kernel: str
    case: str  # what was run
    target: str
    constants: dict[str, str]  # what was compiled in, by the kernel or because it is 1
    unaligned: list[str]  # pointers and numbers not known to be multiples of 16
    warps: int
    stages: int
    registers: int  # of a thread
    shared: int  # bytes of a block
    spilled: int  # bytes of a thread
    matrix: dict[str, int]
    copies: dict[str, int]
    widest_load: int  # bytes of a thread at once
    instructions: int
    atomics: int
    float64: int
    tf32: int
    half: bool  # reads or writes bfloat16 or float16
    products: int  # matrix products that the kernel asks for
    looped_products: int  # those of them in a loop that was to be pipelined
    hash: str

    def problems(self) -> list[str]:
        """What is wrong, one sentence each."""
        chip = CHIPS[self.target]
        found = []
        if self.spilled:
            found.append(
                f"spills {self.spilled} bytes of each thread's registers into memory. Use smaller tiles or more warps."
            )
        if self.shared > chip.shared:
            found.append(
                f"wants {self.shared:,} bytes of shared memory; a block has {chip.shared:,}. Use smaller tiles, fewer stages."
            )
        if self.half and self.products and not self.matrix.get(chip.matrix):
            found.append(f"multiplies matrices of half precision without {chip.matrix}.")
        if self.looped_products and chip.copies and not sum(self.copies.values()):
            found.append(
                "waits for every tile it loads: the loop was not pipelined. Are pointers and strides multiples of 16?"
            )
        if self.atomics:
            found.append(f"has {self.atomics} atomic instructions: sums would differ from run to run.")
        if self.float64 and "fp64" not in self.constants.values():
            found.append(f"has {self.float64} float64 instructions: is a Python float mixed in?")
        if self.tf32:
            found.append(f"has {self.tf32} TF32 instructions, which keep 10 bits of a float32's 23.")
        return [f"{self.kernel} ({self.case}) on {self.target} {sentence}" for sentence in found]


NVIDIA_OPCODE = re.compile(r"^\s*(?:@!?%p\d+\s+)?([a-z]\w*(?:(?:\.|::)\w+)+)\s(.*)$", re.MULTILINE)
AMD_OPCODE = re.compile(r"^\t([a-z]\w+)", re.MULTILINE)


def examine(compiled: Any, target: str, case: str) -> Report:
    """Reads a report off a compiled kernel: its signature, its metadata and its assembly. `case`: the workload that ran it."""
    source, metadata = compiled.src, compiled.metadata
    types = {path: (name, dtype) for path, name, dtype in _arguments(source.signature)}
    aligned = {path for path, what in source.attrs.items() if ["tt.divisibility", 16] in what}
    products = list(_products(compiled.asm["ttir"]))
    read = _read_amd if "amdgcn" in compiled.asm else _read_nvidia
    return Report(
        kernel=compiled.name,
        case=case,
        target=target,
        constants={types[path][0]: _shown(value) for path, value in source.constants.items() if path in types},
        unaligned=[name for path, (name, dtype) in types.items() if dtype[0] in "*i" and path not in aligned],
        warps=metadata.num_warps,
        stages=metadata.num_stages,
        shared=metadata.shared,
        half=bool({"*bf16", "*fp16"} & {dtype for _, dtype in types.values()}),
        products=len(products),
        looped_products=sum(products) if metadata.num_stages > 1 else 0,
        hash=compiled.hash,
        **read(compiled),
    )


def _arguments(
    signature: Any, above: tuple[int, ...] = (), name: str = ""
) -> Iterator[tuple[tuple[int, ...], str, str]]:
    """(place, name, type) of every argument; of named tuples, of every member: `q.ptr`."""
    fields = signature.items() if isinstance(signature, dict) else zip(signature._fields, signature, strict=True)
    for i, (field, dtype) in enumerate(fields):
        if isinstance(dtype, tuple):
            yield from _arguments(dtype, (*above, i), f"{name}{field}.")
        else:
            yield (*above, i), f"{name}{field}", dtype


def _shown(value: Any) -> str:
    value = getattr(value, "value", value)  # of a tl.constexpr
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, JITFunction):
        return value.__name__
    return value.name if isinstance(value, triton.language.dtype) else str(value)


def _products(ttir: str) -> Iterator[bool]:
    """Whether each matrix product is in a loop, one answer for each; loops are told by their indentation."""
    loops: list[int] = []
    for line in ttir.splitlines():
        indent = len(line) - len(line.lstrip())
        while loops and indent <= loops[-1]:
            loops.pop()
        if "scf.for" in line or "scf.while" in line:
            loops.append(indent)
        elif "= tt.dot " in line:
            yield bool(loops)


def _read_nvidia(compiled: Any) -> dict[str, Any]:
    """PTX for the kinds of instructions, under the names that NVIDIA documents; the binary for everything else."""
    lines = NVIDIA_OPCODE.findall(compiled.asm["ptx"])
    opcodes = [opcode for opcode, _ in lines]
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(compiled.asm["cubin"])
        command = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name]
        usage = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    used = {name: int(number) for name, number in re.findall(r"(REG|STACK|LOCAL):(\d+)", usage)}
    return {
        "registers": used["REG"],
        "spilled": used["STACK"] + used["LOCAL"],  # Triton puts nothing else there
        "matrix": _count(opcodes, {"wgmma": r"wgmma\.mma", "mma.sync": r"mma\.sync"}),
        "copies": _count(opcodes, {"cp.async": r"cp\.async\.c[ag]\.", "TMA": r"cp\.async\.bulk\.tensor\."}),
        "widest_load": max((_nvidia_load(*line) for line in lines), default=0),
        "instructions": _code_size(compiled.asm["cubin"], f".text.{compiled.name}") // 16,
        "atomics": sum(opcode.startswith(("atom.", "red.")) for opcode in opcodes),
        "float64": sum(".f64" in opcode for opcode in opcodes),
        "tf32": sum(".tf32" in opcode for opcode in opcodes),
    }


def _nvidia_load(opcode: str, operands: str) -> int:
    if opcode.startswith("ld.global"):
        vector, bits = re.search(r"(?:\.v(\d))?\.[bufs](\d+)$", opcode).groups()  # type: ignore[union-attr]
        return int(vector or 1) * int(bits) // 8
    if opcode.startswith(("cp.async.ca.", "cp.async.cg.")):
        return int(operands.split(",")[2].strip(" ;"), 16)
    return 0


def _code_size(elf: bytes, wanted: str) -> int:
    """Bytes of a section of a 64-bit ELF file."""
    start, size, count, names = struct.unpack_from("<Q", elf, 40) + struct.unpack_from("<HHH", elf, 58)
    headers = [struct.unpack_from("<IIQQQQ", elf, start + i * size) for i in range(count)]
    for name, _, _, _, _, length in headers:
        at = headers[names][4] + name
        if elf[at : elf.index(b"\0", at)].decode() == wanted:
            return length
    raise ValueError(f"no section {wanted}")


def _read_amd(compiled: Any) -> dict[str, Any]:
    """The assembly says it all."""
    assembly = compiled.asm["amdgcn"]
    opcodes = AMD_OPCODE.findall(assembly)
    used = {name: int(number) for name, number in re.findall(r"^[ -]+\.(\w+): +(\d+)$", assembly, re.MULTILINE)}
    sizes = {"ubyte": 1, "sbyte": 1, "ushort": 2, "sshort": 2, "short": 2, "dword": 4}
    load = rf"^\t(?:global|buffer)_load_(?:lds_)?({'|'.join(sizes)})(?:x(\d))?"
    loads = re.findall(load, assembly, re.MULTILINE)
    return {
        "registers": used["vgpr_count"],
        "spilled": used["private_segment_fixed_size"],
        "matrix": _count(opcodes, {"mfma": r"v_mfma_"}),
        "copies": {},
        "widest_load": max((sizes[size] * int(vector or 1) for size, vector in loads), default=0),
        "instructions": len(opcodes),
        "atomics": sum("_atomic_" in opcode for opcode in opcodes),
        "float64": sum("_f64" in opcode for opcode in opcodes),
        "tf32": sum("_xf32" in opcode for opcode in opcodes),
    }


def _count(opcodes: list[str], kinds: dict[str, str]) -> dict[str, int]:
    found = Counter(kind for opcode in opcodes for kind, pattern in kinds.items() if re.match(pattern, opcode))
    return dict(found)


# --- the table ----------------------------------------------------------------------------------------------------------

COLUMNS = "{:8} {:>5} {:>6} {:>9} {:>15} {:>7}  {:<14} {:<12} {:>6} {:>12}"
HEADER = COLUMNS.format(
    "target", "warps", "stages", "registers", "shared memory", "spilled", "matrix", "async", "load", "instructions"
)
LEGEND = """
Under each kernel's name: what was run, then what was compiled into it. "unaligned": pointers and numbers that are not known
to be multiples of 16; where a row's stride is among them, its loads cannot be wide.

warps          of 32 threads (64 on gfx942) that share a block's work.
stages         how many steps of a loop are in flight at once, where the loop is pipelined.
registers      of a thread. An SM of sm_80 and sm_90 has 65,536 for all of its threads, at most 255 for one (gfx942: 512 for
               one). The fewer, the more blocks run side by side and hide each other's waiting.
shared memory  of a block, and what the chip allows one, in KB. Above that a launch fails. Half of it lets two blocks in.
spilled        bytes of a thread's registers that found no room, and live in memory: the tile is too large for its warps.
matrix         instructions for matrix products: wgmma (sm_90), mma.sync (sm_80), mfma (gfx942). "-" beside a product means
               ordinary multiply-adds, ten or more times slower; meant in float32, which must not be rounded to TF32.
async          instructions that copy into shared memory while others compute: cp.async or TMA. A loop over tiles needs them
               on NVIDIA. They vanish when a stride is unaligned. (gfx942 prefetches into registers instead.)
load           bytes that a thread's widest load from global memory fetches at once. 16 is the best there is.
instructions   of the whole kernel, in the chip's own code, each counted once however often a loop runs it. Unrolling shows.
"""


def table(reports: Sequence[Report]) -> str:
    """One entry for each kernel as it was specialised, one line for each chip."""
    entries: dict[str, list[str]] = {}
    for report in reports:
        entries.setdefault(_title(report), []).append(_line(report))
    return "\n\n".join([HEADER, *("\n".join([title, *lines]) for title, lines in entries.items()), ""]) + LEGEND


def _title(report: Report) -> str:
    absent = ("None", "False")
    constants = " ".join(f"{name}={value}" for name, value in report.constants.items() if value not in absent)
    unaligned = f"unaligned: {' '.join(report.unaligned)}" if report.unaligned else ""
    facts = [textwrap.fill(fact, 116, initial_indent="  ", subsequent_indent="    ") for fact in (constants, unaligned)]
    return "\n".join([f"{report.kernel}: {report.case}", *filter(None, facts)])


def _line(report: Report) -> str:
    shown = lambda counts: " ".join(f"{kind} {count}" for kind, count in counts.items()) or "-"  # noqa: E731
    return COLUMNS.format(
        report.target, report.warps, report.stages, report.registers,
        f"{report.shared / 1024:.1f} of {CHIPS[report.target].shared // 1024}", report.spilled,
        shown(report.matrix), shown(report.copies), report.widest_load or "-", report.instructions,
    )  # fmt: skip


def _compile(workload: Workload, target: str, names: Sequence[str]) -> tuple[list[Report], str | None]:
    """What came of one workload on one chip; and what went wrong, if it did not compile."""
    failure = None
    with compiling(target, workload.case, lambda kernel: not names or any(name in kernel for name in names)) as reports:
        try:
            workload.run()
        except (TritonError, RuntimeError) as error:
            while error.__cause__:  # the innermost says what is wrong
                error = error.__cause__
            failure = f"{workload.case} does not compile for {target}: {error}"
    return reports, failure


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: compiles, prints the table and every problem. Returns 1 if there is a problem, else 0."""
    parser = argparse.ArgumentParser(
        "python -m kernels.inspect", description="Compiles every kernel, for GPUs that need not be there."
    )
    parser.add_argument("--target", nargs="+", choices=CHIPS, default=list(CHIPS), help="the chips (all three)")
    parser.add_argument("--kernel", nargs="+", default=[], help="only kernels with one of these in their name")
    parser.add_argument("--json", type=Path, help="write the table to this file as well")
    options = parser.parse_args(arguments)

    jobs = [(workload, target, options.kernel) for workload in workloads() for target in options.target]
    with ProcessPoolExecutor(min(8, os.cpu_count() or 1), multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(_compile, *job) for job in jobs]
        for _ in tqdm(as_completed(futures), total=len(jobs), desc="compiling", unit="op", leave=False, disable=None):
            pass
    results = [future.result() for future in futures]
    unique: dict[str, Report] = {}
    for found, _ in results:
        for report in found:
            unique.setdefault(report.hash, report)
    reports = list(unique.values())
    if not reports and not any(failure for _, failure in results):
        parser.error(f"no kernel has {' or '.join(options.kernel)} in its name")
    failures = [failure for _, failure in results if failure]
    problems = failures + [problem for report in reports for problem in report.problems()]

    print(table(reports))
    chips = ", ".join(f"{target} ({CHIPS[target].name})" for target in options.target)
    print(
        f"{len(reports)} kernels compiled by triton {triton.__version__} for {chips}: {len(problems) or 'no'} problems."
    )
    for problem in problems:
        print(f"- {problem}")
    if options.json:
        kernels = [asdict(report) | {"problems": report.problems()} for report in reports]
        written = {"triton": triton.__version__, "failures": failures, "kernels": kernels}
        options.json.write_text(json.dumps(written, indent=1))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
