"""What the papers print, as data, so that a table can show it beside what was measured here."""

from __future__ import annotations

from typing import NamedTuple


class Transferred(NamedTuple):
    """A row of Table 1 or 2 of the likelihood-ratio paper: accuracies between 0 and 1, with the two digits that are printed.

    Attributes
    ----------
    original : float
        «Acc_Orig». By the authors' code it counts only images that the substitute classifies correctly.
    ot : float
        «Acc_OT», on adversarial images.
    lap : float or None
        «Acc_LAP», likewise; None where none is printed.
    """

    original: float
    ot: float
    lap: float | None


# Xiao, Peng, Hong and Ke (2019), by (loss, activation, trained by). Table 1: the images are attacked by way of a substitute with
# two hidden layers; Table 2: with five. What stands here under log-absolute is printed as «y = ln -x», in a copy of the paper in
# which |x| has lost its bars too; it may be ln |-x| or the ln |x| - x of Fig. 7.
GLR_TABLE_1 = {
    ("cross-entropy", "sigmoid", "BP"): Transferred(0.99, 0.28, None),
    ("cross-entropy", "sigmoid", "GLR"): Transferred(0.98, 0.45, 0.45),
    ("cross-entropy", "threshold", "GLR"): Transferred(0.95, 0.52, 0.53),
    ("cross-entropy", "absolute", "GLR"): Transferred(0.96, 0.53, 0.53),
    ("cross-entropy", "arctan-inverse", "GLR"): Transferred(0.98, 0.45, 0.45),
    ("cross-entropy", "log-absolute", "GLR"): Transferred(0.97, 0.41, 0.42),
    ("zero-one", "sigmoid", "GLR"): Transferred(0.87, 0.58, 0.59),
    ("zero-one", "threshold", "GLR"): Transferred(0.86, 0.56, 0.58),
    ("zero-one", "log-absolute", "GLR"): Transferred(0.88, 0.51, 0.53),
}
GLR_TABLE_2 = {
    ("cross-entropy", "sigmoid", "BP"): Transferred(0.99, 0.62, None),
    ("cross-entropy", "sigmoid", "GLR"): Transferred(0.98, 0.83, 0.84),
    ("cross-entropy", "threshold", "GLR"): Transferred(0.95, 0.81, 0.83),
    ("cross-entropy", "absolute", "GLR"): Transferred(0.96, 0.83, 0.84),
    ("cross-entropy", "arctan-inverse", "GLR"): Transferred(0.98, 0.82, 0.84),
    ("cross-entropy", "log-absolute", "GLR"): Transferred(0.97, 0.81, 0.83),
    ("zero-one", "sigmoid", "GLR"): Transferred(0.87, 0.78, 0.79),
    ("zero-one", "threshold", "GLR"): Transferred(0.86, 0.77, 0.79),
    ("zero-one", "log-absolute", "GLR"): Transferred(0.88, 0.78, 0.79),
}
