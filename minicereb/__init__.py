"""minicereb: biological learning and its adversarial robustness, from scratch, with every gradient written out.

The names below are loaded when they are first used; everything else is in the packages that ``docs/api.md`` lists.
"""

import importlib as _importlib
import os as _os

__version__ = "0.1.0"

# An installed package contains `cli` and `data`; in a checkout they are beside it (package_dir in setup.cfg). Python started in a
# checkout, as by `python -m pytest`, finds this folder before the installed package, and must find `cli` and `data` too.
_here = _os.path.dirname(_os.path.abspath(__file__))
_beside = _os.path.dirname(_here)
if _os.path.isfile(_os.path.join(_beside, "cli", "main.py")) and not _os.path.isdir(_os.path.join(_here, "cli")):
    __path__.append(_beside)

# The module of each public name; __init__.pyi tells editors and type checkers the same.
_PLACES = {
    "Cerebellum": "interface.learners",
    "LikelihoodRatioNetwork": "interface.learners",
    "Perceptron": "interface.learners",
    "attack": "interface.measuring",
    "evaluate": "interface.measuring",
    "from_callable": "interface.adapted",
    "from_onnx": "interface.adapted",
    "from_sklearn": "interface.adapted",
    "from_torch": "interface.torch_models",
    "to_art": "interface.torch_models",
    "to_foolbox": "interface.torch_models",
    "to_torch": "interface.torch_models",
}
_PACKAGES = ("datasets",)

__all__ = ["__version__", *_PACKAGES, *_PLACES]  # noqa: PLE0604


def __getattr__(name: str) -> object:
    if name in _PACKAGES:
        return _importlib.import_module(f"minicereb.{name}")
    if name not in _PLACES:
        raise AttributeError(f"module 'minicereb' has no attribute {name!r}")
    found = getattr(_importlib.import_module(f"minicereb.{_PLACES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
