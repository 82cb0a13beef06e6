"""Studies: questions, each answered by a set of experiments at one of three scales."""

from __future__ import annotations

from minicereb.errors import InputError
from minicereb.experiments.studies.ablation import ABLATION
from minicereb.experiments.studies.attacks import ATTACKS_STUDY
from minicereb.experiments.studies.backprop import BACKPROP
from minicereb.experiments.studies.cost import COST
from minicereb.experiments.studies.glr_sources import GLR_SOURCES
from minicereb.experiments.studies.glr_tables import GLR_TABLES
from minicereb.experiments.studies.glr_whitebox import GLR_WHITEBOX
from minicereb.experiments.studies.isi import ISI
from minicereb.experiments.studies.lesions import LESIONS_STUDY
from minicereb.experiments.studies.ltd import LTD
from minicereb.experiments.studies.masking import MASKING
from minicereb.experiments.studies.objectives import OBJECTIVES_STUDY
from minicereb.experiments.studies.optimum import OPTIMUM
from minicereb.experiments.studies.paper_versus_code import PAPER_VERSUS_CODE
from minicereb.experiments.studies.pole import POLE
from minicereb.experiments.studies.savings import SAVINGS
from minicereb.experiments.studies.seeds import SEEDS
from minicereb.experiments.studies.sparsity import SPARSITY
from minicereb.experiments.studies.study import SCALES, Study
from minicereb.experiments.studies.transfer import TRANSFER
from minicereb.experiments.studies.variance import VARIANCE
from minicereb.experiments.studies.width import WIDTH

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
