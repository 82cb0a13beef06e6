"""The delta rule: activity times error, averaged over the batch."""


def readout_gradient(h, ltd_mean, outputs, targets):
    """Return the gradient of the mean loss in the readout."""
    z, e = h - ltd_mean, outputs - targets
    return z.T @ e / len(h)
