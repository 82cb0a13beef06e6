"""What CuPy has of what the product uses: every name and keyword argument, read from the source, against a list of CuPy's own.

The list, ``cupy_names.txt``, is made where CuPy is installed, which needs no GPU::

    pip install 'cupy-cuda12x==14.*'
    python tests/cupy_names.py

With ``--check`` it is compared with the installed CuPy instead. :mod:`strict` stands in for how CuPy behaves, the list for what
it has. It is kept here because CuPy takes 370 MB and a minute to install, and because so every run of the tests compares with it.
"""

import ast
import inspect
import re
import sys
from pathlib import Path

LIST = Path(__file__).with_suffix(".txt")
MODULES = (
    "cupy",
    "cupy.linalg",
    "cupy.lib.stride_tricks",
    "cupy.cuda",
    "cupy.cuda.runtime",
    "cupyx.scipy.special",
    "cupyx.scipy.sparse",
)

# -- the list ----------------------------------------------------------------------------------------------------------------


def describe(value):
    """The parameters of a function as text, ``"a, axis=None, *, out=None"``; None if it is none or does not say."""
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):  # compiled: the first line of its text says it
        text = (getattr(value, "__doc__", None) or "").replace("\\*", "*").split("\n")[0]
        found = re.match(r"[\w.]+\((.*?)\)(\s*->.*)?$", text)
        return _plain(found[1]) if found else None
    return _plain(str(inspect.Signature([each.replace(annotation=inspect.Parameter.empty) for each in parameters]))[1:-1])


def _plain(text):
    """Names of parameters, with ``=`` where they have a default; ``self`` is left out."""
    try:
        found = ast.parse(f"def f({re.sub('<[^>]*>', 'None', text)}): pass").body[0].args
    except SyntaxError:
        return None
    positional = [each.arg for each in (*found.posonlyargs, *found.args) if each.arg != "self"]
    parts = [*positional, *([f"*{found.vararg.arg}"] if found.vararg else ["*"] if found.kwonlyargs else [])]
    return ", ".join([*parts, *(each.arg for each in found.kwonlyargs), *([f"**{found.kwarg.arg}"] if found.kwarg else [])])


def lines_of_installed():
    """The list, from the installed CuPy: its version, then a line for each name."""
    import importlib

    import cupy

    lines = [f"version {cupy.__version__}"]
    for module in MODULES:
        owner = importlib.import_module(module)
        for name in sorted(dir(owner)):
            if not name.startswith("_") and not inspect.ismodule(getattr(owner, name)):
                lines.append(_line(f"{module}.{name}", getattr(owner, name)))
    for name in sorted(dir(cupy.ndarray)):
        if not name.startswith("_"):
            lines.append(_line(f"cupy.ndarray.{name}", getattr(cupy.ndarray, name)))
    lines += [
        _line(f"cupy.ufunc.{name}", getattr(cupy.ufunc, name)) for name in sorted(dir(cupy.ufunc)) if not name.startswith("_")
    ]
    return lines


def _line(name, value):
    if not callable(value) or isinstance(value, type):
        return name
    parameters = describe(value)
    return f"{name}(?)" if parameters is None else f"{name}({parameters})"


def read(lines):
    """Return the version and, for each name, its parameters: a list, or None where nothing is known of them."""
    known = {}
    for line in lines[1:]:
        name, _, rest = line.partition("(")
        known[name] = None if not rest or rest == "?)" else [part for part in rest[:-1].split(", ") if part]
    return lines[0].removeprefix("version "), known


# -- the source --------------------------------------------------------------------------------------------------------------

METHODS = "cupy.ndarray"


def used(source):
    """Yield what a source uses of CuPy: line, dotted name, positional arguments and keywords (both None if it is not called)."""
    tree = ast.parse(source)
    libraries, host = _libraries(tree), _on_host(tree)
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        name, call = _dotted(node, libraries), calls.get(id(node))
        if name is not None and id(node) not in inner:
            yield node.lineno, name, *_arguments(call)
        elif name is None and call is not None and libraries and _is_method(node.attr) and call.keywords and id(node) not in host:
            yield node.lineno, f"{METHODS}.{node.attr}", *_arguments(call)


def _on_host(tree):
    """Attributes, by identity, of what is NumPy's for certain: what ``to_numpy`` or a function of ``np`` returned."""
    found = set()
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        names = set()
        for node in sorted((each for each in ast.walk(function) if isinstance(each, ast.Assign)), key=lambda each: each.lineno):
            for target in node.targets:
                one_by_one = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
                pairs = zip(target.elts, node.value.elts, strict=False) if one_by_one else [(target, node.value)]
                names |= {each.id for each, value in pairs if isinstance(each, ast.Name) and _is_host(value, names)}
        found |= {id(node) for node in ast.walk(function) if isinstance(node, ast.Attribute) and _is_host(node.value, names)}
    return found


def _is_host(node, names):
    if isinstance(node, ast.Name):
        return node.id in names | {"np"}
    if isinstance(node, ast.BinOp):
        return _is_host(node.left, names) or _is_host(node.right, names)
    if isinstance(node, ast.IfExp):
        return _is_host(node.body, names) and _is_host(node.orelse, names)
    if isinstance(node, ast.Call):
        return (isinstance(node.func, ast.Name) and node.func.id == "to_numpy") or _is_host(node.func, names)
    return isinstance(node, ast.Attribute | ast.Subscript) and _is_host(node.value, names)


def _libraries(tree):
    """Names in a source that stand for a library of arrays, with the module each is."""
    found = {"cupy": "cupy"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cupyx"):
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and (made := _made(node.value)):
            found[node.targets[0].id] = made
        elif isinstance(node, ast.arg) and node.arg == "xp":
            found["xp"] = "cupy"
        elif isinstance(node, ast.NamedExpr) and (made := _made(node.value)):
            found[node.target.id] = made
    uses = any(isinstance(node, ast.Name) and node.id in {*found, "xp_of", "special_of"} for node in ast.walk(tree))
    return found if uses else {}


def _made(node):
    """Which library an expression is: that of an array, or its special functions."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
        name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
        return {"xp_of": "cupy", "special_of": "cupyx.scipy.special"}.get(name)
    return None


def _dotted(node, libraries):
    """``cupy.lib.stride_tricks.as_strided`` for ``xp.lib.stride_tricks.as_strided``; None if it is of no such library."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    root = _made(node) or (libraries.get(node.id) if isinstance(node, ast.Name) else None)
    return None if root is None else ".".join([root, *reversed(parts)])


def _arguments(call):
    if call is None:
        return None, None
    starred = any(isinstance(each, ast.Starred) for each in call.args)
    return (None if starred else len(call.args)), [each.arg for each in call.keywords if each.arg is not None]


def _is_method(name):
    import numpy as np

    return (
        callable(getattr(np.ndarray, name, None))
        and not hasattr(str, name)
        and not hasattr(list, name)
        and not hasattr(dict, name)
    )


UFUNC_METHODS = ("reduce", "accumulate", "reduceat", "outer", "at")


def lacking(source, known):
    """Return what a source uses that CuPy lacks: names, keywords, and arguments that it takes only by keyword."""
    found = []
    for line, name, positional, keywords in used(source):
        if name.rpartition(".")[2] in UFUNC_METHODS:
            name = f"cupy.ufunc.{name.rpartition('.')[2]}"
        where = f"line {line}: {name}"
        if name not in known:
            if not any(name.startswith(f"{each}.") for each in known if known[each] is None):  # of a type, a constant: finfo(…)
                found.append(where)
            continue
        parameters = known[name]
        if parameters is None or keywords is None:
            continue
        names = {each.lstrip("*") for each in parameters}
        if not any(each.startswith("**") for each in parameters):
            found += [f"{where}({keyword}=)" for keyword in keywords if keyword not in names]
        before = parameters[: next((place for place, each in enumerate(parameters) if each.startswith("*")), None)]
        if positional is not None and positional > len(before) and not any(re.match(r"\*\w", each) for each in parameters):
            found.append(f"{where}: {positional} arguments by position")
    return found


if __name__ == "__main__":
    lines = lines_of_installed()
    if sys.argv[1:] == ["--check"]:
        changed = sorted(set(lines) ^ set(LIST.read_text(encoding="utf-8").splitlines()))
        print("\n".join(changed) or "as listed")
        sys.exit(bool(changed))
    LIST.write_text("\n".join(lines) + "\n", encoding="utf-8")
