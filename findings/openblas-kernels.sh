#!/usr/bin/env bash
# The last bits of a float32 product depend on the kernels that OpenBLAS chooses, and these do not follow from the processor's name.
#
# Seen 2026-11-29 (Python 3.11, Linux x86_64, an AMD EPYC with AVX-512) with numpy 2.4.6, whose wheel carries OpenBLAS 0.3.31, one
# thread. The product of two random float32 matrices, (64 x 300) times (300 x 10); entries whose bits differ from those of Haswell:
#
#   OPENBLAS_CORETYPE   kernels in use (threadpoolctl)   entries that differ, of 640
#   Haswell             Haswell                            0
#   Zen                 Haswell                            0
#   Sandybridge         Sandybridge                      183
#
# On that processor the default is SkylakeX, which differs from Haswell in 29 entries. Results that we had recorded on another
# virtual machine whose /proc/cpuinfo says "AMD EPYC" as well were, bit for bit, those of Haswell's kernels. So "same processor, same
# versions, same seed" is not enough for the same bits; and who asks for Zen's kernels gets Haswell's without a word.
#
# For whoever compares results bit for bit: record the architecture that threadpoolctl reports, not only the name of the processor.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.4.6 threadpoolctl==3.6.0
cat > "$folder/product.py" <<'PYTHON'
import sys

import numpy as np
from threadpoolctl import threadpool_info

rng = np.random.default_rng(0)
a, b = rng.random((64, 300), dtype=np.float32), rng.random((300, 10), dtype=np.float32)
np.save(sys.argv[1], a @ b)
(blas,) = (pool for pool in threadpool_info() if pool["user_api"] == "blas")
print(blas["architecture"])
PYTHON
cat > "$folder/compare.py" <<'PYTHON'
import sys

import numpy as np

reference, other = (np.load(path) for path in sys.argv[1:])
difference = abs(other - reference).max() / reference.max()
print((other != reference).sum(), "of", reference.size, "entries differ, by at most", difference, "of the largest")
assert difference < 1e-5
PYTHON
export OPENBLAS_NUM_THREADS=1
for asked in Haswell Zen Sandybridge; do
  used=$(OPENBLAS_CORETYPE=$asked "$folder/venv/bin/python" "$folder/product.py" "$folder/$asked.npy")
  said=$("$folder/venv/bin/python" "$folder/compare.py" "$folder/Haswell.npy" "$folder/$asked.npy")
  echo "$asked: kernels of $used; $said"
  case $asked in
    Haswell) [ "$used" = Haswell ] ;;
    Zen) [ "$used" = Haswell ] && [ "${said%% *}" = 0 ] ;;
    Sandybridge) [ "$used" = Sandybridge ] && [ "${said%% *}" != 0 ] ;;
  esac
done
