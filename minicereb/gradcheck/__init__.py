"""Is a derivative right? Hand-written derivatives compared with finite differences."""

from minicereb.gradcheck.differences import check_adjoint, check_gradient, difference

__all__ = ["check_adjoint", "check_gradient", "difference"]
