"""Studies: questions, each answered by a set of experiments at one of three scales.

A study is one :class:`Study`, listed in the table below or offered by another package as an entry point of the group
``minicereb.studies``.
"""

from __future__ import annotations

from collections.abc import Mapping

from minicereb.errors import InputError
from minicereb.extensions import with_extensions
from minicereb.studies.ablation import ABLATION
from minicereb.studies.attack_objectives import OBJECTIVES_STUDY
from minicereb.studies.backpropagation import BACKPROP
from minicereb.studies.cost import COST
from minicereb.studies.eyelid import ISI, LESIONS_STUDY, SAVINGS
from minicereb.studies.glr_attacks import GLR_SOURCES, GLR_WHITEBOX
from minicereb.studies.glr_depth import GLR_DEPTH
from minicereb.studies.glr_regularisers import GLR_REGULARISERS
from minicereb.studies.glr_tables import GLR_TABLES
from minicereb.studies.masking import MASKING
from minicereb.studies.missed_images import ATTACKS_STUDY
from minicereb.studies.paper_versus_code import PAPER_VERSUS_CODE
from minicereb.studies.passes import PASSES
from minicereb.studies.pole import POLE
from minicereb.studies.results import Results
from minicereb.studies.robust_circuits import ROBUST_CIRCUITS
from minicereb.studies.seeds import SEEDS
from minicereb.studies.sparsity import OPTIMUM, SPARSITY
from minicereb.studies.study import SCALES, Study
from minicereb.studies.transfer import TRANSFER
from minicereb.studies.variance import VARIANCE
from minicereb.studies.variance_depth import VARIANCE_DEPTH
from minicereb.studies.variance_noise import VARIANCE_NOISE
from minicereb.studies.vnncomp import VNNCOMP
from minicereb.studies.width import LTD, WIDTH

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
    ROBUST_CIRCUITS,
)
LIKELIHOOD_RATIO = (
    GLR_TABLES,
    GLR_WHITEBOX,
    GLR_SOURCES,
    VARIANCE,
    VARIANCE_DEPTH,
    VARIANCE_NOISE,
    COST,
    GLR_DEPTH,
    GLR_REGULARISERS,
    PASSES,
)
MOTOR = (ISI, SAVINGS, LESIONS_STUDY, POLE)
VERIFICATION = (VNNCOMP,)
STUDIES = {study.name: study for study in CEREBELLUM + LIKELIHOOD_RATIO + MOTOR + VERIFICATION}

GROUP = "minicereb.studies"  # group of entry points through which other packages offer studies

__all__ = ["SCALES", "STUDIES", "Results", "Study", "all_studies", "study_named"]


def all_studies() -> Mapping[str, Study]:
    """Return minicereb's own studies and those that other installed packages offer, keyed by name."""
    return with_extensions(GROUP, STUDIES, Study)


def study_named(name: str) -> Study:
    """Return the study with this name; raise :class:`InputError` if no study has this name."""
    studies = all_studies()
    if name not in studies:
        raise InputError("study", name, ", ".join(studies))
    return studies[name]
