#!/usr/bin/env bash
# SciPy: importing scipy.sparse also imports all that NumPy loads only on demand: numpy.f2py, numpy.testing with unittest, numpy.ctypeslib, ...
#
# Seen 2026-11-29 (Python 3.11, Linux x86_64) with scipy 1.17.1 and numpy 2.4.6:
#
#   import numpy                                  none of these modules
#   import scipy                                  none of these modules
#   import scipy.sparse (or linalg, special)      numpy.f2py and 16 modules below it, numpy.testing, numpy.ctypeslib, unittest
#
# SciPy keeps a copy of array-api-compat, which makes a second module out of numpy and reads each of its public names for it. NumPy imports
# these subpackages when their names are read. In one run with -X importtime this was 0.15 of the 0.31 seconds that scipy.sparse took.
#
# For programs of short commands: import SciPy only in the functions that need it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.4.6 scipy==1.17.1
cat > "$folder/loaded.py" <<'PYTHON'
import subprocess
import sys

PACKAGES = ("numpy.f2py", "numpy.testing", "numpy.ctypeslib", "unittest")


def loaded_by(module):
    code = f"import {module}, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


for module in ("numpy", "scipy", "scipy.sparse", "scipy.linalg", "scipy.special"):
    names = loaded_by(module)
    found = [name for name in PACKAGES if name in names]
    print(f"import {module}: {', '.join(found) or 'none'}; {sum(name.startswith('numpy.f2py') for name in names)} modules of numpy.f2py")
    assert found == ([] if module in ("numpy", "scipy") else list(PACKAGES))
assert sum(name.startswith("numpy.f2py") for name in loaded_by("scipy.sparse")) == 17
PYTHON
"$folder/venv/bin/python" "$folder/loaded.py"
