"""Carry out an experiment of any kind: train what it stands on, do it unless it was done, and keep what it came to."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from minicereb.errors import DataError
from minicereb.experiments import attacks
from minicereb.experiments.configs import AttackedModel, Experiment
from minicereb.experiments.evaluation import settings as evaluation
from minicereb.experiments.identity import config_hash
from minicereb.experiments.kinds import (
    averaged,
    broken,
    conditioning,
    dimension,
    estimator_variance,
    gradient_sizes,
    gradient_sources,
    moved,
    paired,
    pole,
    time_to_accuracy,
    transfer,
    transfer_matrix,
)
from minicereb.experiments.laboratory import Laboratory, Record, model_of
from minicereb.experiments.records import read_record, write_record
from minicereb.experiments.runs import Run, require_whole

# For each kind of experiment the generator that does it, when what it stands on is complete: it yields progress in words and
# returns a record of JSON values.
EXPERIMENTS: dict[type, Callable[[Any, Laboratory], Generator[str, None, Record]]] = {
    AttackedModel: attacks.attacked_model,
    averaged.AttackedAverage: averaged.attacked_average,
    broken.BrokenImages: broken.broken_images,
    conditioning.Conditioning: conditioning.conditioning,
    dimension.Dimension: dimension.dimension,
    evaluation.EvaluatedModel: evaluation.evaluated_model,
    gradient_sizes.GradientSizes: gradient_sizes.gradient_sizes,
    gradient_sources.GradientSources: gradient_sources.gradient_sources,
    transfer_matrix.TransferMatrix: transfer_matrix.transfer_matrix,
    moved.MovedOutputs: moved.moved_outputs,
    paired.PairedComparison: paired.paired_comparison,
    pole.PoleBalancing: pole.pole_balancing,
    transfer.TransferredAttack: transfer.transferred_attack,
    estimator_variance.EstimatorVariance: estimator_variance.estimator_variance,
    time_to_accuracy.TimeToAccuracy: time_to_accuracy.time_to_accuracy,
    time_to_accuracy.FastestAgain: time_to_accuracy.fastest_again,
}


def carry_out_experiment(config: Experiment, laboratory: Laboratory) -> Generator[str, None, Record]:
    """Carry out an experiment, or find its record; yields the progress in words and returns :func:`result_of` it."""
    for train in config.trainings:
        yield from laboratory.train(train)
    if found_record(config, laboratory) is None:
        for other in getattr(config, "experiments", ()):
            yield from carry_out_experiment(other, laboratory)
        record = yield from EXPERIMENTS[type(config)](config, laboratory)
        path = record_path(config, laboratory)
        write_record(path, config, record, [model_of(laboratory.run(train)) for train in config.trainings])
    return result_of(config, laboratory)


def result_of(config: Experiment, laboratory: Laboratory) -> Record:
    """Return the record of an experiment that is complete.

    To the record as it is kept are added the number of test images, the names of the run folders (for
    :func:`minicereb.experiments.laboratory.run_named`) and the test accuracies of the models that the experiment stands on:
    ``run`` and ``test_accuracy`` if it is one, lists ``runs`` and ``test_accuracies`` if there are more.

    Raises
    ------
    DataError
        If the record is that of other settings or of another model, or a model was altered.
    """
    path = record_path(config, laboratory)
    kept = read_record(path, config)
    runs = laboratory.stands_on(kept, path.parent.parent if isinstance(config, AttackedModel) else None)
    if runs is None:
        raise DataError(f"{path} holds the record of another model than there is now; delete it to do the experiment again")
    for run in runs:
        require_whole(run)
    record = kept.record | {"test_images": len(laboratory.dataset.x_test)}
    names, accuracies = [laboratory.name_of(run) for run in runs], [(run.result or {})["test_accuracy"] for run in runs]
    if len(runs) == 1:
        return {**record, "run": names[0], "test_accuracy": accuracies[0]}
    return record | ({"runs": names, "test_accuracies": accuracies} if runs else {})


def record_path(config: Experiment, laboratory: Laboratory) -> Path:
    """Where the record of an experiment is kept, or is to be: with the run if it is an attack on one, else in ``experiments``."""
    if isinstance(config, AttackedModel):
        return found_record(config, laboratory) or attacks.record_path(_runs(config, laboratory)[0], config)
    return laboratory.record_path(config)


def found_record(config: Experiment, laboratory: Laboratory) -> Path | None:
    """Where the record of an experiment is kept, or None if it is not done.

    A file in the study's own folder is returned whatever it holds, so that what is wrong with it is told when it is read; one
    beside it only if it is the record of this experiment.
    """
    if isinstance(config, AttackedModel):
        key, runs = config_hash(config), _runs(config, laboratory)
        paths = (laboratory.attack_path(run, attacks.record_path(run, config), key) for run in runs)
        return next((path for path in paths if path is not None), None)
    path = laboratory.record_path(config)
    return path if path.exists() else None


def _runs(config: AttackedModel, laboratory: Laboratory) -> list[Run]:
    return list(laboratory.complete_runs(config.train)) or [laboratory.run(config.train)]
