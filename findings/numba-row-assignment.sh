#!/usr/bin/env bash
# One assignment of an array to a row makes Numba compile five times as much code, or more, as the same copy number by number.
#
# Seen 2026-11-29 (Python 3.11, Linux x86_64) with numba 0.68.1 and numpy 2.4.6. Lines of LLVM code after optimisation, float32:
#
#   for i in range(len(a)): for j in range(len(b)): a[i, j] = b[j]     378 lines
#   for i in range(len(a)): a[i] = b                                  2731 lines
#
# Both give the same array. Most of the additional code probably serves the error about shapes that do not fit, whose text is
# composed at run time. The first call waited four times as long (1.9 s against 0.5 s in one run).
#
# For whoever waits for the first call of a compiled loop: copy small rows number by number.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.4.6 numba==0.68.1
cat > "$folder/rows.py" <<'PYTHON'
import numba
import numpy as np


def by_row(a, b):
    for i in range(len(a)):
        a[i] = b


def by_number(a, b):
    for i in range(len(a)):
        for j in range(len(b)):
            a[i, j] = b[j]


lines, results = {}, []
for function in (by_number, by_row):
    a, b = np.zeros((3, 4), dtype=np.float32), np.arange(4, dtype=np.float32)
    dispatcher = numba.njit(function)
    dispatcher(a, b)
    results.append(a)
    (code,) = dispatcher.inspect_llvm().values()
    lines[function.__name__] = len(code.splitlines())
    print(function.__name__, lines[function.__name__], "lines")
assert np.array_equal(*results), "the two give different arrays"
assert lines["by_row"] > 5 * lines["by_number"], "the assignment compiles less code now"
PYTHON
"$folder/venv/bin/python" "$folder/rows.py"
