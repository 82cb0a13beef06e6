"""Derivative of ReLU: credit passes where the unit is active, v > 0."""


def relu_input_gradient(d_h, v):
    """Return the derivative by the pre-activation."""
    return d_h * (v > 0)
