"""What `kernels.inspect` reads out of a compiled kernel, from texts written by hand. `test_compilation.py` compiles.

The module is made for a process in which kernels are compiled. Nothing is compiled here, so it is imported all the same.
"""

import importlib
import json
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from kernels import _launch


@pytest.fixture(scope="module")
def seen() -> Iterator[ModuleType]:
    with mock.patch.dict(os.environ), mock.patch.object(_launch, "INTERPRETED", False):
        yield importlib.import_module("kernels.inspect")


def report(seen: ModuleType, **facts: Any) -> Any:
    """One of a kernel that nothing is wrong with, but for what is said."""
    good = {
        "kernel": "some_kernel", "case": "rows", "target": "sm_90", "constants": {}, "unaligned": [], "warps": 4, "stages": 3,
        "registers": 32, "shared": 1024, "spilled": 0, "matrix": {"wgmma": 2}, "copies": {"cp.async": 4}, "widest_load": 16,
        "instructions": 100, "atomics": 0, "float64": 0, "tf32": 0, "half": True, "products": 1, "looped_products": 1,
        "hash": "a",
    }  # fmt: skip
    return seen.Report(**good | facts)


PROBLEMS = [
    ({}, None),
    ({"spilled": 8}, "spills 8 bytes"),
    ({"shared": 227 * 1024}, None),
    ({"shared": 227 * 1024 + 1}, "wants 232,449 bytes of shared memory; a block has 232,448"),
    ({"target": "sm_80", "matrix": {"mma.sync": 1}, "shared": 163 * 1024 + 1}, "a block has 166,912"),
    ({"target": "gfx942", "matrix": {"mfma": 1}, "copies": {}, "shared": 64 * 1024}, None),
    ({"matrix": {"mma.sync": 2}}, "multiplies matrices of half precision without wgmma"),
    ({"matrix": {}, "half": False}, None),
    ({"matrix": {}, "products": 0, "looped_products": 0, "copies": {}}, None),
    ({"copies": {}}, "waits for every tile it loads"),
    ({"copies": {}, "looped_products": 0}, None),
    ({"atomics": 1}, "has 1 atomic instructions"),
    ({"float64": 2}, "has 2 float64 instructions"),
    ({"float64": 2, "constants": {"ACC": "fp64"}}, None),
    ({"tf32": 3}, "has 3 TF32 instructions"),
]  # fmt: skip


@pytest.mark.parametrize(("facts", "sentence"), PROBLEMS)
def test_what_is_a_problem(seen, facts, sentence):
    found = report(seen, **facts).problems()
    assert len(found) == (sentence is not None)
    for problem in found:
        assert problem.startswith(f"some_kernel (rows) on {facts.get('target', 'sm_90')} ")
        assert sentence in problem


def test_products_in_loops_are_told_by_indentation(seen):
    ttir = """
    %0 = tt.dot %a, %b
    scf.for %i = 0 to 4 {
      %1 = tt.dot %a, %b
      scf.while %j {
        %2 = tt.dot %a, %b
      }
      %3 = tt.dot %a, %b
    }
    %4 = tt.dot %a, %b
    scf.for %k = 0 to 2 {
      %5 = arith.addf %a, %b
    }
    %6 = tt.dot %a, %b
    """
    assert list(seen._products(ttir)) == [False, True, True, True, False, False]


def test_how_wide_a_load_is(seen):
    loads = {
        ("ld.global.v4.b32", "{%r1}, [%rd1];"): 16, ("ld.global.v2.b64", "{%r1}, [%rd1];"): 16,
        ("ld.global.b32", "%r1, [%rd1];"): 4, ("ld.global.L1::evict_last.v2.f32", "{%f1}, [%rd1];"): 8,
        ("ld.global.u16", "%rs1, [%rd1];"): 2,
        ("cp.async.cg.shared.global", "[%r1], [%rd1], 0x10, 0x10;"): 16, ("ld.shared.v4.b32", "{%r1}, [%r2];"): 0,
    }  # fmt: skip
    for (opcode, operands), expected in loads.items():
        assert seen._nvidia_load(opcode, operands) == expected, opcode


def elf(*sections: tuple[str, int]) -> bytes:
    """A 64-bit ELF file of sections of so many bytes, their names first of all."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name, _ in sections)
    at, headers, place = 64, [], 64 + len(names)
    headers.append(struct.pack("<IIQQQQ24x", 0, 3, 0, 0, at, len(names)))
    offset = 1
    for name, size in sections:
        headers.append(struct.pack("<IIQQQQ24x", offset, 1, 0, 0, place, size))
        offset += len(name) + 1
    head = bytearray(64)
    struct.pack_into("<Q", head, 40, 64 + len(names))
    struct.pack_into("<HHH", head, 58, 64, len(headers), 0)
    return bytes(head) + names + b"".join(headers)


def test_the_size_of_the_code(seen):
    binary = elf((".text.other", 160), (".text.some_kernel", 320), (".nv.info", 48))
    assert seen._code_size(binary, ".text.some_kernel") == 320
    assert seen._code_size(binary, ".text.other") == 160
    with pytest.raises(ValueError, match=r"no section \.text\.none"):
        seen._code_size(binary, ".text.none")


PTX = """
    mov.u32 %r1, %tid.x;
    @%p1 ld.global.v4.b32 {%r1, %r2, %r3, %r4}, [%rd1];
    @!%p2 ld.global.b16 %rs1, [%rd2];
    cp.async.cg.shared.global [%r5], [%rd3], 0x10, 0x10;
    cp.async.commit_group ;
    wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {%f1}, %rd4, %rd5;
    mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f1}, {%r1}, {%r2}, {%f2};
    red.global.add.f32 [%rd1], %f1;
    atom.global.add.f32 %f1, [%rd1], %f2;
    cvt.f64.f32 %fd1, %f1;
"""


def test_what_is_read_of_a_chip_of_nvidia(seen):
    usage = " Function some_kernel:\n  REG:40 STACK:16 SHARED:0 LOCAL:8 TEXTURE:0"
    compiled = SimpleNamespace(name="some_kernel", asm={"ptx": PTX, "cubin": elf((".text.some_kernel", 320))})
    ran = mock.patch.object(seen.subprocess, "run", return_value=SimpleNamespace(stdout=usage))
    tool = mock.patch.object(
        seen.triton, "knobs", SimpleNamespace(nvidia=SimpleNamespace(cuobjdump=SimpleNamespace(path="x")))
    )
    with ran, tool:
        found = seen._read_nvidia(compiled)
    assert found == {
        "registers": 40, "spilled": 24, "matrix": {"wgmma": 1, "mma.sync": 1}, "copies": {"cp.async": 1}, "widest_load": 16,
        "instructions": 20, "atomics": 2, "float64": 1, "tf32": 1,
    }  # fmt: skip


AMD = """
\ts_load_dwordx4 s[0:3], s[4:5], 0x0
\tglobal_load_dwordx4 v[0:3], v4, s[0:1]
\tbuffer_load_ushort v5, v6, s[0:3], 0 offen
\tv_mfma_f32_32x32x8_bf16_1k a[0:15], v[0:1], v[2:3], a[0:15]
\tv_add_f64 v[0:1], v[2:3], v[4:5]
\tglobal_atomic_add_f32 v0, v1, s[0:1]
    .private_segment_fixed_size: 12
    .vgpr_count:     72
"""


def test_what_is_read_of_a_chip_of_amd(seen):
    assert seen._read_amd(SimpleNamespace(asm={"amdgcn": AMD})) == {
        "registers": 72, "spilled": 12, "matrix": {"mfma": 1}, "copies": {}, "widest_load": 16, "instructions": 6, "atomics": 1,
        "float64": 1, "tf32": 0,
    }  # fmt: skip


def test_kinds_of_instructions_are_told_by_how_they_begin(seen):
    assert seen._count(["mma.sync.a", "mma.sync.b", "wgmma.mma.sync", "x.mma.sync"], {"mma.sync": r"mma\.sync"}) == {
        "mma.sync": 2
    }


def test_the_table_has_a_line_for_each_chip(seen):
    shown = seen.table([report(seen), report(seen, target="sm_80", registers=99), report(seen, case="columns")])
    lines = shown.splitlines()
    assert lines.count("some_kernel: rows") == lines.count("some_kernel: columns") == 1
    first = lines.index("some_kernel: rows")
    assert lines[first + 1].split()[:4] == ["sm_90", "4", "3", "32"] and "1.0 of 227" in lines[first + 1]
    assert lines[first + 2].split()[:4] == ["sm_80", "4", "3", "99"] and "1.0 of 163" in lines[first + 2]


def test_only_kernels_with_one_of_the_words(seen):
    wanted: list[str] = []

    @contextmanager
    def compiling(target: str, case: str, want: Any) -> Iterator[list[Any]]:
        wanted.extend(name for name in ("softmax_kernel", "adamw_kernel", "dropout_kernel") if want(name))
        yield []

    def fails() -> None:
        raise RuntimeError("outer") from RuntimeError("out of registers")

    with mock.patch.object(seen, "compiling", compiling):
        assert seen._compile(seen.Workload("rows", lambda: None), "sm_80", ["softmax", "adamw"]) == ([], None)
        assert wanted == ["softmax_kernel", "adamw_kernel"]
        _, failure = seen._compile(seen.Workload("rows", fails), "sm_80", [])
    assert wanted[2:] == ["softmax_kernel", "adamw_kernel", "dropout_kernel"]
    assert failure == "rows does not compile for sm_80: out of registers"


class Pool:
    """Does at once what it is handed."""

    def __init__(self, *settings: Any) -> None:
        pass

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def submit(self, function: Any, *arguments: Any) -> Any:
        found = function(*arguments)
        return SimpleNamespace(result=lambda: found)


@pytest.mark.parametrize(
    ("facts", "failure", "code"), [({}, None, 0), ({"atomics": 1}, None, 1), ({}, "rows does not compile", 1)]
)
def test_the_command_fails_where_there_are_problems(seen, tmp_path, capsys, facts, failure, code):
    """And shows a kernel that two workloads launch alike once."""
    asked = []

    def compiled(workload: Any, target: str, names: Any) -> Any:
        asked.append((workload.case, target, names))
        matrix = {seen.CHIPS[target].matrix: 1}
        return [
            report(seen, target=target, hash=target, matrix=matrix, **facts)
        ], failure if target == "sm_80" else None

    with (
        mock.patch.object(seen, "_compile", compiled),
        mock.patch.object(seen, "ProcessPoolExecutor", Pool),
        mock.patch.object(seen, "as_completed", list),
        mock.patch.object(seen, "workloads", lambda: [seen.Workload(case, lambda: None) for case in ("a", "b")]),
    ):
        arguments = ["--target", "sm_80", "sm_90", "--kernel", "some", "--json", str(tmp_path / "table.json")]
        assert seen.main(arguments) == code
    assert asked == [(case, target, ["some"]) for case in "ab" for target in ("sm_80", "sm_90")]
    written = json.loads((tmp_path / "table.json").read_text())
    assert [entry["target"] for entry in written["kernels"]] == ["sm_80", "sm_90"]
    assert all(bool(entry["problems"]) == ("atomics" in facts) for entry in written["kernels"])
    assert written["failures"] == ([failure, failure] if failure else [])
    said = capsys.readouterr().out
    assert "2 kernels compiled by triton" in said and ("no problems" in said) == (code == 0)


def test_every_op_with_a_kernel_is_a_workload(seen):
    """In half precision, forward and backward; the optimizer, too."""
    cases = [workload.case for workload in seen.workloads()]
    for op in (
        "softmax",
        "layer_norm",
        "residual_layer_norm",
        "bias_gelu",
        "gelu",
        "dropout",
        "attention",
        "attention_packed",
        "adamw",
    ):
        assert any(case.startswith(f"{op}, bf16") for case in cases), op
    assert len(cases) == len(set(cases))
