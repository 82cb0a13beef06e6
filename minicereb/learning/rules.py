"""Local learning rules for the readout: one function each, and the table of their names.

Another package adds a rule through an entry point in the group ``minicereb.rules`` that names its function (see
:mod:`minicereb.extensions`)::

    def sign_rule(z, error, readout):
        return np.sign(z) @ error

``minicereb train cerebellum --rule NAME`` then accepts the name of this rule.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType

from minicereb.backend import Array
from minicereb.calculus.activations import threshold
from minicereb.extensions import offered, with_extensions

Rule = Callable[[Array, Array, Array], Array]
LEAST_SQUARES, PESSIMISTIC = "least-squares", "pessimistic"


def delta(z: Array, error: Array, readout: Array) -> Array:
    """The delta rule: activity times error, ``∂l/∂W = z eᵀ`` averaged over the batch ``[C4]``.

    Every rule takes these arguments and is called for one block of granule cells at a time.

    Parameters
    ----------
    z : array of float, shape (cells, columns)
        Activity of the block's cells minus the LTD mean, one column per image; columns of zeros may follow.
    error : array, shape (columns, classes)
        The climbing fibres' error, divided by the number of images; rows of zeros may follow.
    readout : array, shape (cells, classes)
        The block's weights W, read-only.

    Returns
    -------
    array, shape (cells, classes)
        A new array, which the optimiser takes as the gradient; so weights change in the opposite direction.
    """
    return z @ error


def ltd_ltp(z: Array, error: Array, readout: Array) -> Array:
    """The delta rule for synapses that sense only whether their fibre is active: ``[z > 0] eᵀ`` ``[M-LTDLTP]``."""
    return threshold(z) @ error


RULES: dict[str, Rule] = {"delta": delta, "ltd-ltp": ltd_ltp}


def rule_names() -> list[str]:
    """Return the names of all rules: those above, the closed form, the pessimistic rule, and the rules of other packages."""
    return [*RULES, LEAST_SQUARES, PESSIMISTIC, *offered("minicereb.rules")]


def rule_named(name: str) -> Rule:
    """Return the rule with this name.

    Raises
    ------
    ExtensionError
        If another package's rule cannot be imported, is not a function, or has the name of one of minicereb's own.
    """
    # the closed form takes no steps; the pessimistic rule contains this one
    own = RULES | {LEAST_SQUARES: delta, PESSIMISTIC: delta}
    found: Rule = with_extensions("minicereb.rules", own, FunctionType)[name]
    return found
