"""Checks of hand-written derivatives by finite differences."""

from minicereb.gradcheck.differences import check_adjoint, check_gradient, difference

__all__ = ["check_adjoint", "check_gradient", "difference"]
