"""Derivative of ReLU: credit passes where the unit is active, v > 0."""


def relu_input_gradient(d_h, v):
    """Return the derivative with respect to the pre-activation."""
    return d_h * (v > 0)
