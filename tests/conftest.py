"""Set before anything of ours is imported: shapes in signatures are checked, and the same cases are drawn on every run."""

import hypothesis
import pytest
from jaxtyping import install_import_hook

# Every function of these modules checks its arguments and its result against the shapes in its signature.
install_import_hook("minirembert.ops", "beartype.beartype")

import torch  # noqa: E402
from impls import IMPLS, Impl  # noqa: E402

torch.set_num_threads(1)  # the arrays are tiny

# `pytest --hypothesis-profile search` looks for new failures; the default tries the same cases every time.
hypothesis.settings.register_profile(
    "default", max_examples=20, deadline=None, derandomize=True, database=None, report_multiple_bugs=False
)
hypothesis.settings.register_profile(
    "search", max_examples=500, deadline=None, database=None, report_multiple_bugs=False
)
hypothesis.settings.load_profile("default")


@pytest.fixture(scope="session", params=IMPLS, ids=lambda impl: impl.name)
def impl(request: pytest.FixtureRequest) -> Impl:
    """Every implementation in turn."""
    return request.param
