"""The machine's resources and problems: the report of ``minicereb doctor``."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from typing import Any

from threadpoolctl import threadpool_info

from minicereb import __version__
from minicereb.backend import available_cores, cupy_problem, device_properties, execution
from minicereb.compiled import numba_problem
from minicereb.datasets import store

PACKAGES = ("numpy", "scipy", "matplotlib", "click", "jinja2", "pooch", "threadpoolctl", "numba", "scikit-learn", "torch")


def examine() -> dict[str, Any]:
    """Return the report of ``minicereb doctor`` as JSON values; the list ``problems`` is empty on a healthy machine."""
    wheels = sorted(name for name in _installed() if name == "cupy" or name.startswith("cupy-"))
    blas = [
        {key: library.get(key) for key in ("internal_api", "version", "architecture", "num_threads", "filepath")}
        for library in threadpool_info()
        if library.get("user_api") == "blas"
    ]
    report: dict[str, Any] = {
        "minicereb": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "blas": blas,
        "cores": available_cores(),
        "memory": _physical_memory(),
        "execution": {"threads": execution().threads, "memory": execution().memory},
        "numba": {"problem": numba_problem()},
        "cupy": {"wheels": {name: _version(name) for name in wheels}, "problem": cupy_problem(), "device": device_properties()},
        "driver": _driver(),
        "data": [
            {"dataset": name, "file": each.file.name, "state": each.state, "path": str(each.path) if each.path else None}
            for name in store.downloads()
            for each in store.verify(name)
        ],
        "data_places": [str(place) for place in store.places()],
    }
    report["problems"] = _problems(report)
    return report


def _problems(report: dict[str, Any]) -> list[str]:
    problems = []
    wheels = report["cupy"]["wheels"]
    if len(wheels) > 1:
        problems.append(f"several CuPy wheels overwrite each other ({', '.join(wheels)}): uninstall all, then install one")
    if report["driver"] and report["cupy"]["problem"]:
        problems.append(f"there is a GPU ({report['driver']}) but it cannot be used: {report['cupy']['problem']}")
    for file in report["data"]:
        if file["state"] not in ("ok", "missing"):
            problems.append(f"{file['path']} is {file['state']}: minicereb data fetch {file['dataset']}")
    return problems


def _installed() -> set[str]:
    names = (distribution.metadata["Name"] for distribution in importlib.metadata.distributions())
    return {name.lower().replace("_", "-") for name in names if name}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _physical_memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on this system
        return None


def _driver() -> str | None:
    """Return the GPUs that the NVIDIA driver finds, as text, or None. The driver finds them even without CuPy."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return "; ".join(answer.stdout.strip().splitlines()) or None if answer.returncode == 0 else None
