"""Carry out an experiment of any kind: train what it stands on, do it unless it was done, and keep what it came to."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from minicereb.experiments import attacks
from minicereb.experiments.configs import AttackedModel, Experiment
from minicereb.experiments.kinds import (
    averaged,
    broken,
    conditioning,
    dimension,
    estimation,
    evaluated,
    gradient_sizes,
    gradient_sources,
    matrix,
    moved,
    paired,
    pole,
    reaching,
    transfer,
)
from minicereb.experiments.laboratory import Laboratory, Record, read_record, write_record

# For each kind of experiment the generator that does it, when what it stands on is complete: it yields progress in words and
# returns a record of JSON values.
EXPERIMENTS: dict[type, Callable[[Any, Laboratory], Generator[str, None, Record]]] = {
    AttackedModel: attacks.attacked_model,
    averaged.AttackedAverage: averaged.attacked_average,
    broken.BrokenImages: broken.broken_images,
    conditioning.Conditioning: conditioning.conditioning,
    dimension.Dimension: dimension.dimension,
    evaluated.EvaluatedModel: evaluated.evaluated_model,
    gradient_sizes.GradientSizes: gradient_sizes.gradient_sizes,
    gradient_sources.GradientSources: gradient_sources.gradient_sources,
    matrix.TransferMatrix: matrix.transfer_matrix,
    moved.MovedOutputs: moved.moved_outputs,
    paired.PairedComparison: paired.paired_comparison,
    pole.PoleBalancing: pole.pole_balancing,
    transfer.TransferredAttack: transfer.transferred_attack,
    estimation.EstimatorVariance: estimation.estimator_variance,
    reaching.TimeToAccuracy: reaching.time_to_accuracy,
    reaching.FastestAgain: reaching.fastest_again,
}


def carry_out_experiment(config: Experiment, laboratory: Laboratory) -> Generator[str, None, Record]:
    """Carry out an experiment, or find its record; yields the progress in words and returns :func:`result_of` it."""
    for train in config.trainings:
        yield from laboratory.train(train)
    path = record_path(config, laboratory)
    if not path.exists():
        for other in getattr(config, "experiments", ()):
            yield from carry_out_experiment(other, laboratory)
        record = yield from EXPERIMENTS[type(config)](config, laboratory)
        write_record(path, config, record)
    return result_of(config, laboratory)


def result_of(config: Experiment, laboratory: Laboratory) -> Record:
    """Return the record of an experiment that is complete.

    To the record as it is kept are added the number of test images, the names of the run folders (for
    :func:`minicereb.experiments.laboratory.run_named`) and the test accuracies of the models that the experiment stands on:
    ``run`` and ``test_accuracy`` if it is one, lists ``runs`` and ``test_accuracies`` if there are more.
    """
    record = read_record(record_path(config, laboratory)) | {"test_images": len(laboratory.dataset.x_test)}
    runs = [laboratory.run(train) for train in config.trainings]
    names, accuracies = [laboratory.name_of(run) for run in runs], [(run.result or {})["test_accuracy"] for run in runs]
    if len(runs) == 1:
        return {**record, "run": names[0], "test_accuracy": accuracies[0]}
    return record | ({"runs": names, "test_accuracies": accuracies} if runs else {})


def record_path(config: Experiment, laboratory: Laboratory) -> Path:
    """Where the record of an experiment is kept: with the run if it is an attack on one, else in ``experiments``."""
    if isinstance(config, AttackedModel):
        runs = list(laboratory.complete_runs(config.train)) or [laboratory.run(config.train)]
        paths = [attacks.record_path(run, config) for run in runs]
        return next((path for path in paths if path.exists()), paths[0])
    return laboratory.record_path(config)
