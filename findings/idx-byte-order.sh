#!/usr/bin/env bash
# Numbers of several bytes from an IDX file (MNIST's format): read in the file's byte order, and then refused by what reads them next.
#
# Seen 2026-11-28 (Python 3.11, Linux x86_64) with idx2numpy 1.2.3, numpy 2.4.6, torch 2.13.0 and numba 0.68.1. IDX stores big-endian
# numbers, as QMNIST's labels (int32) and images saved as float32. idx2numpy returns them as they lie in the file, read-only:
#
#   idx2numpy.convert_from_string     dtype >i4 and >f4, not writeable
#   idx2numpy.convert_to_string       of just that array: FormatError, "numpy ndarray type not supported by IDX format"
#   torch.from_numpy                  ValueError: byte order differs from the native one
#   numba.njit                        TypingError: Unsupported array dtype: >f4
#   the same after .astype("=f4")     all of them work
#
# Files of single bytes, such as MNIST's own, never show it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.4.6 idx2numpy==1.2.3 torch==2.13.0 numba==0.68.1
cat > "$folder/order.py" <<'PYTHON'
import idx2numpy
import numba
import numpy as np
import torch


def refusal(call):
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {str(error).strip().splitlines()[-1][:90]}"
    return None


@numba.njit
def total(x):
    return x.sum()


for dtype in ("i4", "f4"):
    written = idx2numpy.convert_to_string(np.arange(6, dtype=dtype).reshape(2, 3))
    read = idx2numpy.convert_from_string(written)
    print(dtype, "is read as", read.dtype.str, "writeable" if read.flags.writeable else "read-only")
    assert read.dtype.str == f">{dtype}"
    assert not read.flags.writeable
    for name, call in (
        ("idx2numpy, back", idx2numpy.convert_to_string),
        ("torch.from_numpy", torch.from_numpy),
        ("numba", total),
    ):
        said = refusal(lambda call=call: call(read))
        print(f"  {name:18s}{said}")
        assert said is not None, f"{name} takes it now"
        assert refusal(lambda call=call: call(read.astype(f"={dtype}"))) is None
single = idx2numpy.convert_from_string(idx2numpy.convert_to_string(np.arange(6, dtype="u1").reshape(2, 3)))
assert refusal(lambda: idx2numpy.convert_to_string(single)) is None
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/order.py"
