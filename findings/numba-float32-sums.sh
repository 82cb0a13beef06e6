#!/usr/bin/env bash
# Sums of float32 arrays in Numba: one accumulator in float32, where NumPy sums in pairs.
#
# Seen 2026-11-28 (Python 3.11, Linux x86_64) with numba 0.68.1, numpy 2.4.6 and scipy 1.17.1. The same expressions, with and without @njit:
#
#   x = 2^25 numbers 0.1           NumPy x.sum() 3355443.8   Numba 2097152.0    x.mean()  0.1 against 0.0625
#   x = 2^22 draws from N(100, 1)  NumPy x.var() 0.9996      Numba 8.39         (in float64: 0.9996)
#   x = four entries 1e-30         NumPy norm    0.0         Numba 2e-30        (here NumPy is the one that is wrong)
#   x = four entries 1e30          NumPy norm    inf         Numba 2e30
#
# For whoever compiles a moving average, a batch normalisation or a gradient's size: compare against float64, not against NumPy.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.4.6 scipy==1.17.1 numba==0.68.1
cat > "$folder/sums.py" <<'PYTHON'
import warnings

import numba
import numpy as np

warnings.filterwarnings("ignore", category=RuntimeWarning)


def total(x):
    return x.sum()


def mean(x):
    return x.mean()


def variance(x):
    return x.var()


def norm(x):
    return np.linalg.norm(x)


def both(function, x):
    plain, compiled = float(function(x)), float(numba.njit(function)(x))
    print(f"{function.__name__:9s} NumPy {plain:<14.7g} Numba {compiled:.7g}")
    return plain, compiled


tenths = np.full(2**25, 0.1, dtype=np.float32)
assert both(total, tenths)[1] == 2097152.0
assert both(mean, tenths)[1] == 0.0625
draws = np.random.default_rng(0).normal(100, 1, 2**22).astype(np.float32)
plain, compiled = both(variance, draws)
assert abs(plain - draws.astype(np.float64).var()) < 1e-4
assert compiled > 5
for entry in (1e-30, 1e30):
    plain, compiled = both(norm, np.full(4, entry, dtype=np.float32))
    assert plain in (0.0, np.inf)
    assert abs(compiled / (2 * entry) - 1) < 1e-6
PYTHON
"$folder/venv/bin/python" "$folder/sums.py"
