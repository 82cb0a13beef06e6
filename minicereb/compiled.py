"""Loops compiled by Numba, if installed: one pass over memory where NumPy needs one per operation.

Compiled loops give the same bits as the NumPy code beside them (the tests compare them). There are exceptions, which differ by
rounding: the loop of :mod:`minicereb.attacks.square_loop`, the loops of :mod:`minicereb.calculus.fused`,
:mod:`minicereb.calculus.winograd4`, :mod:`minicereb.calculus.direct`, :mod:`minicereb.calculus.batchnorm`,
:mod:`minicereb.learning.delta_loops` and :mod:`minicereb.learning.changed_responses`, and the sigmoid of noisy runs,
:func:`minicereb.calculus.activations.half_tanh`. ``NUMBA_DISABLE_JIT=1`` switches Numba off.

A loop may work on vectors of :func:`vector_length` numbers, with the functions :func:`load`, :func:`store`, :func:`spread`,
:func:`positive`, :func:`where_positive`, :func:`add_product` and :func:`total`, and the operators ``+``, ``-`` and ``*``. The
vectors of :func:`load_line` are half as long. In Python a vector is a row of an array; Numba keeps it in the processor's
registers.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib.metadata
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from minicereb.backend import Array
from minicereb.errors import install_command

LEAST = 1 << 15  # for fewer numbers NumPy is as fast, and Numba, which takes a second to load and compile, is not loaded

Loop = Callable[..., Any]


def _without_collection(function: Loop) -> Loop:
    """Let garbage collection wait until `function` returns; it would look, in vain, through all that a compiler makes."""

    @functools.wraps(function)
    def without(*args: Any) -> Any:
        collects = gc.isenabled()
        gc.disable()
        try:
            return function(*args)
        finally:
            if collects:
                gc.enable()

    return without


@functools.cache
@_without_collection
def numba_problem() -> str | None:
    """Return a one-line reason why Numba cannot be used here, or None if it can."""
    try:
        from numba import config
    except Exception as error:  # a Numba that does not fit this NumPy may raise errors of any kind
        reason = str(error).partition("\n")[0]
        return f"Numba is not installed or cannot be loaded ({reason}); {install_command('numba')}"
    return "Numba is switched off by NUMBA_DISABLE_JIT" if config.DISABLE_JIT else None


def numba_version() -> str | None:
    """Return the version of Numba in use, or None."""
    return importlib.metadata.version("numba") if numba_problem() is None else None


def compiled(loop: Loop, *arrays: Array, least: int = LEAST) -> Loop | None:
    """Return `loop` compiled to machine code, or None if NumPy's operations should be used.

    Parameters
    ----------
    loop : callable
        Takes arrays, and numbers of their dtype, and writes into the arrays. When compiled, it runs without Python's lock.
    *arrays
        Its arguments. The loop is compiled only for contiguous NumPy arrays, at least one of which has 32,768 numbers or more.
    """
    if numba_problem() is not None:
        return None
    if not all(isinstance(array, np.ndarray) and array.flags.c_contiguous for array in arrays):
        return None
    return machine_code(loop) if max(array.size for array in arrays) >= least else None


_PARTS: list[Loop] = []


def part_of_loop(function: Loop) -> Loop:
    """Allow compiled loops to call `function`; for calls from Python the function is unchanged."""
    _PARTS.append(function)
    return function


@functools.cache
@_without_collection
def machine_code(loop: Loop) -> Loop:
    """Return `loop` compiled by Numba, which must be installed.

    Numba keeps the machine code for the next process, as Python keeps bytecode: in the same ``__pycache__`` or, if that
    folder cannot be written, in the user's cache. Numba compiles a loop again if the file that defines the loop has
    changed, but not if only this module has changed.
    """
    from numba import njit
    from numba.extending import register_jitable

    _teach_vectors()
    # Without fastmath, so that operations are not reordered or fused. What a loop does not need would take time to compile: a
    # wrapper for C, and Numba's counting of references to arrays, because the caller holds them and no loop makes its own.
    options = {"error_model": "numpy", "no_cfunc_wrapper": True, "_nrt": False}
    while _PARTS:
        register_jitable(forceinline=True, **options)(_PARTS.pop())
    dispatcher = njit(nogil=True, **options)(loop)
    dispatcher.compile = _with_settings(dispatcher.compile)
    _keep(dispatcher, loop)
    return dispatcher


def _with_settings(compile_for: Loop) -> Loop:
    """Return `compile_for`, which compiles a loop for some types, with the settings of Numba that suit the loops here."""

    @_without_collection
    def with_settings(types: Any) -> Any:
        from numba import config
        from numba.core.compiler_lock import global_compiler_lock

        with global_compiler_lock:  # otherwise a second thread would take the first one's settings for the usual ones
            usual = config.SLP_VECTORIZE, config.OPT
            config.SLP_VECTORIZE = 1  # an operation repeated on four neighbours becomes one instruction
            # Level 3 compiles for longer, and Square's and the noisy runs' loops are then only some 2% faster.
            config.OPT = type(config.OPT)(min(config.OPT, 2))
            try:
                return compile_for(types)
            finally:
                config.SLP_VECTORIZE, config.OPT = usual

    return with_settings


def _keep(dispatcher: Any, loop: Loop) -> None:
    """Cache the machine code on disk; if the cache cannot be written or read, the loop is compiled each time."""
    from numba.core.caching import FunctionCache

    class Cache(FunctionCache):
        def load_overload(self, signature: Any, target: Any) -> Any:
            with contextlib.suppress(Exception):  # a damaged file fails in many ways
                return super().load_overload(signature, target)
            return None

        def save_overload(self, signature: Any, data: Any) -> None:
            with contextlib.suppress(Exception):
                super().save_overload(signature, data)

    with contextlib.suppress(RuntimeError):  # no folder to write to
        dispatcher._cache = Cache(loop)


VECTOR_BYTES = 128  # four registers of 256 bits or two of 512: enough independent sums to hide the latency of each


def vector_length(dtype: Any) -> int:
    """Return how many numbers of this dtype a vector has: 32 of float32, 16 of float64."""
    return VECTOR_BYTES // np.dtype(dtype).itemsize


def line_length(dtype: Any) -> int:
    """Return how many numbers of this dtype a cache line has: 16 of float32, 8 of float64."""
    return VECTOR_BYTES // 2 // np.dtype(dtype).itemsize


def in_vectors(numbers: Array) -> Array:
    """View an array as rows of vectors, shape (product of all axes except the last, vectors, length)."""
    length = vector_length(numbers.dtype)
    return numbers.reshape(-1, numbers.shape[-1] // length, length)


def load(array: Array, *place: int) -> Array:
    """Return the row of `array` at `place` as a vector; `place` has an index for every axis except the last."""
    return array[place].copy()


def load_line(array: Array, *place: int) -> Array:
    """Return a row of `array`, of :func:`line_length` numbers, as a vector."""
    return array[place].copy()


def store(array: Array, vector: Array, *place: int) -> None:
    """Write a vector over the row of `array` at `place`."""
    array[place] = vector


def spread(number: Any, like: Array) -> Array:
    """Return a vector of equal numbers, as long as `like`."""
    return np.full_like(like, number)


def positive(number: Any) -> Any:
    """Return ``max(number, 0)`` for a number or a vector; NaN stays NaN."""
    return np.where(number < 0, number.dtype.type(0), number)


def where_positive(condition: Array, vector: Array) -> Array:
    """Return `vector` where `condition` is positive, and 0 elsewhere."""
    return np.where(condition > 0, vector, vector.dtype.type(0))


def add_product(total: Array, number: Any, vector: Array) -> Array:
    """Return ``total + number * vector``; when compiled, it is rounded only once if the processor has fused multiply-add."""
    return total + number * vector


def total(vector: Array) -> Any:
    """Return the sum of a vector: add its second half to its first half, do the same with the result, and so on."""
    while len(vector) > 1:
        vector = vector[: len(vector) // 2] + vector[len(vector) // 2 :]
    return vector[0]


@functools.cache
def _teach_vectors() -> None:
    """Tell Numba the types that the vector functions return, and the LLVM instructions that implement them."""
    from llvmlite import ir
    from numba.core import cgutils, types
    from numba.core.imputils import lower_builtin
    from numba.core.typing.templates import AbstractTemplate, infer_global, signature
    from numba.extending import models, register_model

    class Vector(types.Type):
        def __init__(self, dtype: Any, count: int) -> None:
            self.dtype, self.count = dtype, count
            super().__init__(f"Vector({dtype}, {count})")

    def llvm_type(vector: Any) -> Any:
        return ir.VectorType(ir.FloatType() if vector.dtype == types.float32 else ir.DoubleType(), vector.count)

    @register_model(Vector)
    class Registers(models.PrimitiveModel):
        def __init__(self, manager: Any, vector: Any) -> None:
            super().__init__(manager, vector, llvm_type(vector))

    def teach(function: Any, returned: Callable[..., Any], instructions: Callable[..., Any], *forms: tuple[Any, ...]) -> None:
        class Template(AbstractTemplate):
            key = function

            def generic(self, args: Any, keywords: Any) -> Any:
                found = returned(*args)
                return None if found is None else signature(found, *args)

        infer_global(function)(Template)
        for form in forms:
            lower_builtin(function, *form)(instructions)

    def address(context: Any, builder: Any, vector: Any, array_type: Any, array: Any, place: Any, index_types: Any) -> Any:
        """Return the address of a row. The address is not checked here, because the caller of the loop has checked it."""
        found = context.make_array(array_type)(context, builder, array)
        offset = ir.Constant(ir.IntType(64), 0)
        for index, kind, stride in zip(place, index_types, cgutils.unpack_tuple(builder, found.strides), strict=False):
            offset = builder.add(offset, builder.mul(context.cast(builder, index, kind, types.intp), stride))
        row = builder.gep(builder.bitcast(found.data, ir.IntType(8).as_pointer()), [offset])
        return builder.bitcast(row, llvm_type(vector).as_pointer())

    def loaded(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        row = address(context, builder, sig.return_type, sig.args[0], args[0], args[1:], sig.args[1:])
        return builder.load(row, align=sig.args[0].dtype.bitwidth // 8)

    def stored(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        row = address(context, builder, sig.args[1], sig.args[0], args[0], args[2:], sig.args[2:])
        builder.store(args[1], row, align=sig.args[0].dtype.bitwidth // 8)
        return context.get_dummy_value()

    def equal(builder: Any, number: Any, vector: Any) -> Any:
        one, ints = (
            builder.insert_element(ir.Constant(vector, ir.Undefined), number, ir.Constant(ir.IntType(32), 0)),
            ir.IntType(32),
        )
        return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ints, vector.count), [0] * vector.count))

    def zeros(vector: Any) -> Any:
        return ir.Constant(vector, [ir.Constant(vector.element, 0.0)] * vector.count)

    def not_negative(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        zero = ir.Constant(args[0].type, 0.0) if isinstance(sig.args[0], types.Float) else zeros(args[0].type)
        return builder.select(builder.fcmp_ordered("<", args[0], zero), zero, args[0])

    def chosen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        zero = zeros(args[0].type)
        return builder.select(builder.fcmp_ordered(">", args[0], zero), args[1], zero)

    def fused(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        product = builder.fmul(equal(builder, args[1], args[0].type), args[2], flags=("contract",))
        return builder.fadd(args[0], product, flags=("contract",))

    def of_numbers(name: str) -> Callable[..., Any]:
        def instructions(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            first = args[0] if isinstance(sig.args[0], Vector) else equal(builder, args[0], args[1].type)
            return getattr(builder, name)(first, args[1])

        return instructions

    def halved(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        (vector,) = args
        while vector.type.count > 1:
            half = vector.type.count // 2
            places = (ir.Constant(ir.VectorType(ir.IntType(32), half), [*range(at, at + half)]) for at in (0, half))
            vector = builder.fadd(*(builder.shuffle_vector(vector, vector, each) for each in places))
        return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))

    def row(size: int) -> Callable[..., Any]:
        return lambda array, *place: (
            Vector(array.dtype, size * 8 // array.dtype.bitwidth) if isinstance(array, types.Array) else None
        )

    def same(first: Any, second: Any) -> Any:
        return second if isinstance(second, Vector) and (first == second or first == second.dtype) else None

    places = [(types.Integer,) * count for count in (1, 2)]
    teach(load, row(VECTOR_BYTES), loaded, *((types.Array, *place) for place in places))
    teach(load_line, row(VECTOR_BYTES // 2), loaded, *((types.Array, *place) for place in places))
    teach(total, lambda vector: vector.dtype, halved, (Vector,))
    teach(store, lambda *args: types.void, stored, *((types.Array, Vector, *place) for place in places))
    teach(spread, lambda number, like: like, lambda c, b, s, args: equal(b, args[0], args[1].type), (types.Float, Vector))
    teach(positive, lambda number: number, not_negative, (Vector,), (types.Float,))
    teach(where_positive, lambda condition, vector: vector, chosen, (Vector, Vector))
    teach(add_product, lambda total, number, vector: total, fused, (Vector, types.Float, Vector))
    for operation, name in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul")):
        teach(operation, same, of_numbers(name), (Vector, Vector), (types.Float, Vector))
