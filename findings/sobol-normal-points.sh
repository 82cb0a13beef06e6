#!/usr/bin/env bash
# Normal numbers from unscrambled Sobol points: SciPy's first point lies 6.47 standard deviations out in every coordinate, or is infinite.
#
# Seen 2026-11-28 (Python 3.11, Linux x86_64) with scipy 1.17.1 and numpy 2.4.6: scipy.stats.qmc.MultivariateNormalQMC over
# scipy.stats.qmc.Sobol(d, scramble=False), whose first point is the corner (0, 0, …):
#
#   inv_transform=True (the default)    first point -6.46695 in every coordinate; of 128 points the mean is -0.05 and the variance 1.25,
#                                       without the first point 0.00 and 0.94. In 784 dimensions it is 181 long, not about 28.
#   inv_transform=False (Box-Muller)    first point inf and nan, with two RuntimeWarnings
#   scramble=True                       neither: mean and variance within 0.06 of 0 and 1
#
# For whoever draws the noise of a network, or the points of a randomised certificate, in replayable unscrambled order: leave the first
# point out, shift all points by half a cell, or scramble.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.4.6 scipy==1.17.1
cat > "$folder/points.py" <<'PYTHON'
import warnings

import numpy as np
from scipy.stats import qmc


def points(d, scramble, inverse, count=128):
    engine = qmc.Sobol(d, scramble=scramble, rng=np.random.default_rng(0))
    return qmc.MultivariateNormalQMC(np.zeros(d), engine=engine, inv_transform=inverse).random(count)


for d in (2, 8, 784):
    x = points(d, False, True)
    print(f"{d:3d} dimensions: first point {x[0, 0]:.5f} to {x[0].max():.5f}, length {np.linalg.norm(x[0]):.1f}")
    print(f"    all 128: mean {x.mean():+.3f}, variance {x.var():.3f}; without the first: {x[1:].mean():+.3f}, {x[1:].var():.3f}")
    assert np.allclose(x[0], -6.46695, atol=1e-4), "the first point lies elsewhere now"
    assert x.var() > 1.2
    assert 0.9 < x[1:].var() < 1.05
    scrambled = points(d, True, True)
    assert abs(scrambled.mean()) < 0.06
    assert abs(scrambled.var() - 1) < 0.06

with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    x = points(2, False, False)
print("Box-Muller:", x[0], "with", len(seen), "warnings")
assert np.isinf(x[0, 0])
assert np.isnan(x[0, 1])
PYTHON
"$folder/venv/bin/python" "$folder/points.py"
