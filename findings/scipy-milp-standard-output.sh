#!/usr/bin/env bash
# scipy.optimize.milp writes to standard output although it was not asked to (disp is False by default).
#
# Seen 2026-11-28 (Python 3.11, Linux x86_64) with scipy 1.17.1 and numpy 2.4.6. The largest output of one layer of eight ReLUs over a box, each
# ReLU one binary variable with the usual big-M constraints. The answer is right to nine digits; but with M = 1e7 HiGHS prints
#
#   HighsMipSolverData::transformNewIntegerFeasibleSolution tmpSolver.run();
#
# on file descriptor 1, below Python's sys.stdout, so contextlib.redirect_stdout does not catch it. A command that promises one JSON document
# on standard output, and verifies networks by mixed-integer programming, breaks its promise. With M = 100 nothing is printed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.4.6 scipy==1.17.1
cat > "$folder/largest.py" <<'PYTHON'
import contextlib
import io
import sys

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

units, inputs, big = 8, 4, float(sys.argv[1])
rng = np.random.default_rng(0)
weights, biases, readout = rng.normal(size=(units, inputs)), rng.normal(size=units), rng.normal(size=units)
one, none = np.eye(units), np.zeros((units, inputs))
rows = np.block([[-weights, one, 0 * one], [-weights, one, big * one], [none, one, -big * one]])
low = np.concatenate([biases, np.full(2 * units, -np.inf)])
high = np.concatenate([np.full(units, np.inf), biases + big, np.zeros(units)])
with contextlib.redirect_stdout(io.StringIO()):
    result = milp(
        np.concatenate([np.zeros(inputs), -readout, np.zeros(units)]),
        constraints=LinearConstraint(rows, low, high),
        integrality=np.repeat([0, 1], [inputs + units, units]),
        bounds=Bounds(np.repeat([-1.0, 0.0], [inputs, 2 * units]), np.repeat([1.0, np.inf, 1.0], [inputs, units, units])),
    )
output = readout @ np.maximum(weights @ result.x[:inputs] + biases, 0)
assert result.success
assert abs(-result.fun - output) < 1e-8
print(f"M = {big:g}: {-result.fun:.9f}, by the network {output:.9f}", file=sys.stderr)
PYTHON
quiet=$("$folder/venv/bin/python" "$folder/largest.py" 1e2)
loud=$("$folder/venv/bin/python" "$folder/largest.py" 1e7)
echo "M = 100 prints '$quiet', M = 1e7 prints '$loud'"
[ -z "$quiet" ]
[ "$loud" = "HighsMipSolverData::transformNewIntegerFeasibleSolution tmpSolver.run();" ]
