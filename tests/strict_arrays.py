"""A stand-in for CuPy that runs on any machine: arrays that refuse to meet NumPy's.

Installed in CuPy's place, it sends the product down the paths of a device. What CuPy would refuse, or do by a hidden copy between
host and device, is a TypeError here: arithmetic, ``out=``, indexing and assignment that mix the two kinds of array, and NumPy
functions called on an array of the device. Reading a value, which CuPy allows at the price of a wait for the device, is counted.
A calculation with arrays of two floating-point types, by which a forgotten ``dtype=`` slows a network down, is a TypeError too.

It is no subclass of ``numpy.ndarray`` because :mod:`minicereb.backend` takes these for arrays of the host.
"""

import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from scipy import special
from scipy.sparse import csr_array

from minicereb import backend


class StrictArray(NDArrayOperatorsMixin):
    """An array of a device that is not there."""

    __slots__ = ("_inside",)
    __hash__ = None
    reads = 0  # how often a value was brought to the host

    def __init__(self, inside):
        self._inside = inside

    def __array_ufunc__(self, ufunc, method, *inputs, **keywords):
        outs = keywords.get("out", (None,))
        _agree((*inputs, *outs))
        result = _close(getattr(ufunc, method)(*_open(inputs), **_open(keywords)))
        return result if outs[0] is None else outs[0]

    def __array_function__(self, function, types, args, kwargs):
        raise TypeError(f"numpy.{function.__name__} was called on an array of the device; it belongs to xp")

    def __array__(self, dtype=None, copy=None):
        raise TypeError("an array of the device was converted to one of the host without get()")

    def __getattr__(self, name):
        if name.startswith("_") or name in ("data", "ctypes", "tobytes", "tofile"):
            raise AttributeError(name)
        value = getattr(self._inside, name)
        if name in ("item", "tolist"):
            return lambda *args: getattr(_read(self), name)(*args)
        return _guarded(value, self) if callable(value) else _close(value)

    def __getitem__(self, key):
        return _close(self._inside[_open(key)])

    def __setitem__(self, key, value):
        self._inside[_open(key)] = _open(value)

    def __len__(self):
        return len(self._inside)

    def __iter__(self):
        return (self[number] for number in range(len(self)))

    def __repr__(self):
        return f"StrictArray({self._inside!r})"

    def get(self):
        return _read(self).copy()

    def __bool__(self):
        return bool(_read(self))

    def __int__(self):
        return int(_read(self))

    def __float__(self):
        return float(_read(self))

    def __index__(self):
        return _read(self).__index__()


def _read(array):
    StrictArray.reads += 1
    return array._inside


def _open(value):
    """Take the arrays of the device out of arguments; an array of the host among them is what all this is for."""
    if isinstance(value, StrictArray):
        return value._inside
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError("an array of the host met an array, or the library, of the device")
    if isinstance(value, tuple | list):
        return type(value)(map(_open, value))
    if isinstance(value, dict):
        return {name: _open(part) for name, part in value.items()}
    return value


def _agree(values):
    """Refuse two floating-point types among the arrays; numbers, and arrays without axes, are numbers."""
    types = {value.dtype for value in values if isinstance(value, StrictArray) and value.ndim and value.dtype.kind == "f"}
    if len(types) > 1:
        raise TypeError(f"arrays of {' and '.join(sorted(map(str, types)))} of the device in one calculation")


def _close(value):
    if isinstance(value, np.ndarray | np.generic):
        return StrictArray(np.asarray(value))  # a sum over everything is an array without axes, as in CuPy
    if isinstance(value, tuple | list):
        return type(value)(map(_close, value))
    return value


def _guarded(function, *own):
    def call(*args, **kwargs):
        _agree((*own, *args, *kwargs.values()))
        result = _close(function(*_open(args), **_open(kwargs)))
        return result if kwargs.get("out") is None else kwargs["out"]

    return call


class _Library(ModuleType):
    """Everything of NumPy's, for arrays of the device alone; `array` and `asarray` copy from the host."""

    ndarray = StrictArray

    def array(self, value, dtype=None):
        return StrictArray(np.array(value._inside if isinstance(value, StrictArray) else value, dtype=dtype))

    asarray = array
    lib = SimpleNamespace(stride_tricks=SimpleNamespace(as_strided=_guarded(np.lib.stride_tricks.as_strided)))

    def __getattr__(self, name):
        value = getattr(np, name)
        return _guarded(value) if callable(value) and not isinstance(value, type) else value


class _CsrMatrix:
    def __init__(self, parts, shape):
        self._matrix = csr_array(_open(parts), shape=shape) if isinstance(parts, tuple) else parts

    @property
    def T(self):  # noqa: N802
        return _CsrMatrix(self._matrix.T, None)

    def __matmul__(self, other):
        _agree((StrictArray(self._matrix.data), other))
        return _close(self._matrix @ _open(other))


class _Special(ModuleType):
    """SciPy's special functions, for arrays of the device alone: those that cupyx has and the product uses."""

    def __getattr__(self, name):
        if name not in ("betainc", "betaincinv", "erfcx", "expit", "logit", "ndtr", "ndtri"):
            raise AttributeError(name)
        return _guarded(getattr(special, name))


library = _Library("cupy")


def install(monkeypatch):
    """Put the stand-in in CuPy's place until the test ends, and return its library, what the product calls ``xp``."""
    cupyx, scipy, sparse = (ModuleType(name) for name in ("cupyx", "cupyx.scipy", "cupyx.scipy.sparse"))
    cupyx.scipy, scipy.sparse, scipy.special = scipy, sparse, _Special("cupyx.scipy.special")
    sparse.csr_matrix = _CsrMatrix
    for module in (library, cupyx, scipy, sparse, scipy.special):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(backend._LIBRARIES, StrictArray, library)
    monkeypatch.setattr(backend, "_execution", replace(backend._execution, device="cuda"))
    return library
