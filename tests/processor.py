"""What rounding depends on: bits can be compared with results recorded elsewhere where processor and BLAS are the same."""

from pathlib import Path

import numpy as np  # noqa: F401  loads the BLAS
from threadpoolctl import threadpool_info


def processor():
    """Its name and, after a comma, the kernels of the BLAS, such as "AMD EPYC, Haswell"; either is empty where nothing tells.

    Processors of one name may differ: some EPYCs have AVX-512, and OpenBLAS then multiplies by other kernels.
    """
    told = Path("/proc/cpuinfo")
    line = next((line for line in told.read_text().splitlines() if line.startswith("model name")), "") if told.exists() else ""
    kernels = {pool.get("architecture", "") for pool in threadpool_info() if pool["user_api"] == "blas"}
    return f"{line.partition(':')[2].strip()}, {' '.join(sorted(kernels))}"
