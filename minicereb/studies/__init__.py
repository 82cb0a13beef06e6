"""Studies: questions, each answered by a set of experiments at one of three scales."""

from __future__ import annotations

from minicereb.errors import InputError
from minicereb.studies.ablation import ABLATION
from minicereb.studies.attacks import ATTACKS_STUDY
from minicereb.studies.backprop import BACKPROP
from minicereb.studies.cost import COST
from minicereb.studies.glr_sources import GLR_SOURCES
from minicereb.studies.glr_tables import GLR_TABLES
from minicereb.studies.glr_whitebox import GLR_WHITEBOX
from minicereb.studies.isi import ISI
from minicereb.studies.lesions import LESIONS_STUDY
from minicereb.studies.ltd import LTD
from minicereb.studies.masking import MASKING
from minicereb.studies.objectives import OBJECTIVES_STUDY
from minicereb.studies.optimum import OPTIMUM
from minicereb.studies.paper_versus_code import PAPER_VERSUS_CODE
from minicereb.studies.pole import POLE
from minicereb.studies.savings import SAVINGS
from minicereb.studies.seeds import SEEDS
from minicereb.studies.sparsity import SPARSITY
from minicereb.studies.study import SCALES, Study
from minicereb.studies.transfer import TRANSFER
from minicereb.studies.variance import VARIANCE
from minicereb.studies.width import WIDTH

CEREBELLUM = (
    WIDTH,
    LTD,
    SPARSITY,
    OPTIMUM,
    ABLATION,
    SEEDS,
    MASKING,
    TRANSFER,
    BACKPROP,
    OBJECTIVES_STUDY,
    ATTACKS_STUDY,
    PAPER_VERSUS_CODE,
)
LIKELIHOOD_RATIO = (GLR_TABLES, GLR_WHITEBOX, GLR_SOURCES, VARIANCE, COST)
MOTOR = (ISI, SAVINGS, LESIONS_STUDY, POLE)
STUDIES = {study.name: study for study in CEREBELLUM + LIKELIHOOD_RATIO + MOTOR}

__all__ = ["SCALES", "STUDIES", "Study", "study_named"]


def study_named(name: str) -> Study:
    """Return the study of this name; :class:`InputError` if there is none."""
    if name not in STUDIES:
        raise InputError("study", name, ", ".join(STUDIES))
    return STUDIES[name]
