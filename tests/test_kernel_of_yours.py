"""Kernels of others, handed in by `pytest --kernel`: right ones pass, sick ones are told what they have."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import test_op_attention  # noqa: F401 - their properties
import test_op_layernorm  # noqa: F401
import test_op_softmax  # noqa: F401
import test_ops  # noqa: F401
from impls import IMPLS
from kernel_of_yours import impl_of
from properties import CHAPTERS, PROPERTIES, Property

from kernels._launch import INTERPRETED

HERE = Path(__file__).parent
OTHERS = HERE / "kernels_of_others"
TEN_LINES = HERE.parent / "docs" / "test_your_kernel.md"

pytestmark = pytest.mark.skipif(not INTERPRETED, reason="a wrong kernel does no harm only where it is interpreted")


def rule(name: str) -> Property:
    (found,) = [each for each in PROPERTIES if each.name == name]
    return found


SICK = {
    "no_rescale": (
        "attention: one two and three tiles of any size are one attention",
        r"y over 1 x 2 tiles of 128 .* too far off in .*\nOften: where a later tile has a larger score, .* multiplied by exp",
    ),
    "no_delta": (
        "attention: the same vector added to every key changes nothing",
        r"sum of dk over the keys .* too far off in .*\nOften: dS is P \(dP - delta\), with delta = dy . y of the query",
    ),
    "no_mask_at_the_edge": (
        "softmax: the value is right",
        r"kernel, program \(2, 0, 0\): reads 1 of 16 numbers outside of its arrays",
    ),
    "last_rows_left_out": (
        "layer_norm: the value is right",
        r"NaN on one side only in 2 of 10 entries, first at \[1, 3, 0\]",  # the interpreter fills what nobody wrote
    ),
}


@pytest.mark.parametrize("sick", SICK)
def test_a_sick_kernel_is_told_what_it_has(sick: str) -> None:
    name, says = SICK[sick]
    with pytest.raises(pytest.fail.Exception) as failed:
        rule(name).test(impl_of(OTHERS / f"{sick}.py"))
    said = str(failed.value)
    assert said.startswith(f"{sick}.py breaks a rule. {name}.\n")
    assert re.search(says, said), said
    assert f"Explained in tutorials/{CHAPTERS[name.split(':')[0]]}." in said
    assert max(map(len, said.splitlines())) < 600 and len(said.splitlines()) <= 6


def test_every_sick_kernel_is_tried() -> None:
    assert {file.stem for file in OTHERS.glob("*.py")} == SICK.keys() | {"right"}


def test_without_the_larger_cases_the_missing_rescale_is_not_seen() -> None:
    """Which is why they are there: in one tile there is nothing to rescale."""
    rule("attention: the value is right").test(impl_of(OTHERS / "no_rescale.py"))


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("attention: one two and three small tiles are one attention", "several tiles (no `block`)"),
        ("attention: the blocks do not matter", "several tiles (no `block`)"),
        ("attention: the gradients are right", "gradients (no backward half)"),
        ("attention: hidden keys do not change real tokens", "a bias or a mask (no `bias`)"),
        ("attention: lse is the log of the sum of the exponentials", "what is saved as lse (no such field)"),
        (
            "attention: attention is its probabilities times the values",
            "attention_probabilities beside it (no function of this name)",
        ),
    ],
)
def test_what_cannot_be_tried_is_not_passed(name: str, missing: str) -> None:
    with pytest.raises(pytest.skip.Exception) as skipped:
        rule(name).test(impl_of(OTHERS / "right.py"))
    assert str(skipped.value) == f"not tried: {missing}"


def test_the_command(tmp_path: Path) -> None:
    """Ten lines from the documentation: nothing but softmax's properties is tried, and what is missing is counted."""
    code = TEN_LINES.read_text("utf-8").split("```python\n")[1].split("```")[0]
    assert len([line for line in code.splitlines() if line]) <= 12
    (tmp_path / "mine.py").write_text(code)
    files = [str(HERE / name) for name in ("test_ops.py", "test_op_softmax.py", "test_op_linear.py")]
    call = [sys.executable, "-m", "pytest", *files, "--kernel", "mine.py", "-p", "no:cacheprovider", "-rpf"]
    done = subprocess.run(call, cwd=tmp_path, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    passed = re.findall(r"^PASSED .*\[mine\.py-(softmax: .*)\]", done.stdout, re.MULTILINE)
    failed = re.findall(r"^FAILED .*\[mine\.py-(softmax: .*)\]", done.stdout, re.MULTILINE)
    assert {"softmax: the value is right", "softmax: every row is a probability"} <= set(passed)
    assert set(failed) == {"softmax: a row with everything hidden is uniform", "softmax: a row with a NaN is all NaN"}
    assert "gradients (no backward half): 5 properties" in done.stdout
    assert "several tiles (no `block`): 1 property" in done.stdout
    assert "Traceback" not in done.stdout and "site-packages" not in done.stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def soft_max(x): ...", "no function in it is called like an op, which are .*softmax"),
        ("ARRAYS = 'torch'\ndef softmax(x): ...", "ARRAYS is 'torch', and may be one of numpy, tensors"),
        ("DTYPES = ('float16',)\ndef softmax(x): ...", "DTYPES is \\('float16',\\), and may hold float64 and float32"),
        ("def softmax(x:", "it cannot be imported, SyntaxError: "),
        ("MULTIPLE = 0\ndef attention(x): ...", "MULTIPLE is 0, and may be 1 to 128"),
    ],
)
def test_a_file_that_cannot_be_tried(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(ValueError, match=message):
        impl_of(tmp_path / "mine.py")
    with pytest.raises(ValueError, match="there is no such file"):
        impl_of(tmp_path / "yours.py")


def test_what_fails_once_is_not_passed_the_second_time() -> None:
    """Where a case that rules share fails, the smallest is looked for; a rule that then holds has failed all the same."""
    seen: list[object] = []

    def check_once(impl: object, case: object) -> None:
        seen.append(case)
        assert len(seen) != 3, "the third case"

    with pytest.raises(pytest.fail.Exception, match="the third case"):
        Property("softmax", check_once, ("ordinary",), 20).test(impl_of(OTHERS / "no_mask_at_the_edge.py"))
    assert len(seen) > 3


def test_the_first_rung_is_tried_like_the_others() -> None:
    assert [impl.name for impl in IMPLS][2:] == [f"{IMPLS[1].name}, first rung"]


def test_the_chapters_exist() -> None:
    chapters = {name for names in CHAPTERS.values() for name in names.split(" and ")}
    assert {name for name in chapters if not (HERE.parent / "tutorials" / name).is_file()} == set()
