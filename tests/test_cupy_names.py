"""Every name and keyword argument of CuPy's that the product uses is one that CuPy has."""

from pathlib import Path

import cupy_names
import pytest

ROOT = Path(__file__).parents[1]
VERSION, KNOWN = cupy_names.read(cupy_names.LIST.read_text(encoding="utf-8").splitlines())
SOURCES = sorted(path for folder in ("minicereb", "cli") for path in (ROOT / folder).rglob("*.py"))


def test_the_list_is_that_of_a_release_which_setup_promises():
    assert VERSION.split(".")[0] == "14"
    assert len(KNOWN) > 1_000
    assert sum(len(list(cupy_names.used(path.read_text(encoding="utf-8")))) for path in SOURCES) > 500


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_cupy_has_what_a_module_uses(path):
    assert cupy_names.lacking(path.read_text(encoding="utf-8"), KNOWN) == []


@pytest.mark.parametrize(
    "line",
    [
        "xp.no_such_function(x)",
        "xp.float128",
        "xp.nditer(x)",
        "xp_of(x).ediff1d_(x)",
        "xp.sum(x, axis=0, where=mask)",
        "xp.sum(x, initial=0.0)",
        "xp.exp(x, where=mask)",
        "xp.maximum(x, 0, out=x, where=mask)",
        "xp.zeros(3, like=x)",
        "xp.clip(x, 0, max=1)",
        "xp.unique(x, sorted=False)",
        "xp.add.reduce(x, where=mask)",
        "xp.lib.stride_tricks.no_such(x)",
        "x.max(axis=1, initial=0.0)",
        "x.sum(axis=1, where=mask)",
        "(x + 1).mean(axis=0, where=mask)",
        "special_of(x).no_such(x)",
        "cupy.cuda.runtime.no_such()",
        "sparse.csr_matrix2((x, x, x))",
    ],
)
def test_what_cupy_lacks_is_found(line):
    source = f"from cupyx.scipy import sparse\ndef f(x, mask):\n    xp = xp_of(x)\n    return {line}\n"
    assert len(cupy_names.lacking(source, KNOWN)) == 1


@pytest.mark.parametrize(
    "line",
    [
        "xp.sum(x, axis=0, dtype=xp.float64, out=x, keepdims=True)",
        "xp.finfo(x.dtype).eps",
        "xp.copyto(x, 0, where=mask)",
        "xp.matmul(x, x, out=x)",
        "xp.einsum('ij,ij->i', x, x, optimize=True)",
        "xp.lib.stride_tricks.as_strided(x, shape=(1,), strides=(4,))",
        "x.astype(xp.float32, copy=False).sum(axis=0)",
        "np.sum(x, where=mask)",
        "to_numpy(x).max(axis=1, initial=0.0)",
        "special_of(x).ndtri(x)",
        "text.replace('a', 'b', count=1)",
    ],
)
def test_what_cupy_has_is_left_alone(line):
    source = f"def f(x, mask, text):\n    xp = xp_of(x)\n    return {line}\n"
    assert cupy_names.lacking(source, KNOWN) == []
