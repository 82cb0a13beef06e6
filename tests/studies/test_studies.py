"""Studies: complete at smoke scale, resumed where they stopped, their tables made of their records."""

import dataclasses
import hashlib
import itertools

import numpy as np
import pytest
from json_files import read_any

from minicereb import datasets
from minicereb.datasets import cifar10
from minicereb.errors import InputError
from minicereb.experiments.configs import Data, Experiment
from minicereb.experiments.evaluation.settings import EvaluatedModel
from minicereb.experiments.identity import config_hash
from minicereb.experiments.kinds.attacked import AttackedModel
from minicereb.randomness import generator
from minicereb.studies import SCALES, STUDIES, study_named
from minicereb.studies.study import carry_out


@pytest.fixture(scope="module")
def small():
    return datasets.load("strokes", train=400, test=60)


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_at_smoke_scale_leaves_records_and_a_table(name, small, tmp_path):
    study = study_named(name)
    steps = list(carry_out(study, "smoke", (0,), small, tmp_path))
    assert steps[-1].done == steps[-1].total
    stored = read_any(tmp_path / "study.json")
    done = [step.doing for step in steps if step.doing.startswith("done: ") and not step.doing.startswith("done: training")]
    assert len(stored["results"]) == len(done)
    assert (tmp_path / "table.md").read_text().count("\n|") > 2


def test_a_study_that_was_stopped_ends_with_the_same_table_and_does_nothing_twice(small, tmp_path):
    study = study_named("objectives")
    list(carry_out(study, "smoke", (0,), small, tmp_path / "elsewhere" / "whole"))
    for stop in (3, 60, 200):
        progress = carry_out(study, "smoke", (0,), small, tmp_path / "stopped")
        list(itertools.islice(progress, stop))
        progress.close()
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "stopped").rglob("attacks/*.json")}
    assert written
    list(carry_out(study, "smoke", (0,), small, tmp_path / "stopped"))
    assert all(path.stat().st_mtime_ns == time for path, time in written.items())
    assert (tmp_path / "stopped" / "table.md").read_text() == (tmp_path / "elsewhere" / "whole" / "table.md").read_text()


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("scale", SCALES)
def test_every_scale_names_its_data_and_plans_distinct_experiments(name, scale):
    study = study_named(name)
    plan = study.plan(Data(study.dataset[scale], "0" * 64), scale, (0, 123))
    assert len(set(plan)) == len(plan) > 0
    assert all(isinstance(config, Experiment) for config in plan)


PLANS = {  # digests of the hashes of all experiments at each scale; what was done by an earlier version is found by these
    # Square's revision, 2026-11-29, changed those of evaluations and attacks with it.
    "width": ("67f67eb62122", "fbed39cf0546", "323312b4d9a0"),
    "ltd": ("e5f497020b00", "8d0d1e227190", "be9790fcd663"),
    "sparsity": ("df7d4995abbb", "7dfed3cc8b34", "ef1d2f2befd0"),
    "optimum": ("33986fb14189", "99d87d7acf8b", "726053ba8e77"),
    "ablation": ("20ddf234b9b7", "8ea19d935bd4", "86040d43c4eb"),
    "seeds": ("6b22e09ced9a", "ad907ce31e22", "5293212dac71"),
    "masking": ("130cbca80dc9", "bb45614fe9e5", "c831afd1f097"),
    "transfer": ("4b940c4d85b2", "ded88f41eb96", "2eb14bb655cb"),
    "backprop": ("4d9b1df74841", "5ab1ac94cffd", "7fb3b3a4b9c6"),
    "objectives": ("7a2883dd3fc7", "dad89e7e6ee9", "12a93e6c570a"),
    "attacks": ("7d34358fd8c0", "7e7b59f806ca", "f8f17842af72"),
    "paper-versus-code": ("1cec791b6065", "f5c15b5ca549", "77b029ba7595"),
    "robust-circuits": ("9dec6ac3ff21", "10d20ea03873", "d25561427a24"),
    "glr-tables": ("47526d134793", "a7cc2bb4f2cb", "3ab1a945d43d"),
    "glr-whitebox": ("f31513c25784", "77903e5aa1bc", "b5ed5bb2bf3a"),
    "glr-sources": ("40cf27d63481", "054813510480", "7dbd90dfe7f7"),
    "variance": ("f45a4795631f", "2ec9168e412f", "756541a7b8af"),
    "variance-depth": ("520ab8b28dd0", "b0f76c683c0f", "fa64bb03c9f9"),
    "variance-noise": ("ad9a68ff07c4", "60b781afdb89", "8b4ffd54f070"),
    "cost": ("02899709cc9e", "b7e9931cb502", "05a9472947f1"),
    "glr-depth": ("2a78dda65617", "92c4aae35c98", "653722db10e0"),  # smoke with fewer networks, recurrent flips, 2026-11-29
    "glr-regularisers": ("7b5ce85b912f", "3fe7f4cc81e9", "1b71275ff2e4"),
    "passes": ("9b70b828d52c", "1aa5f8cf231f", "fcd5d38537eb"),
    "isi": ("0de99d12ed88", "e390b0c9dc43", "97c9f56a3529"),
    "savings": ("73677f8c77da", "52647ea86253", "7f2d97a5fe86"),
    "lesions": ("cc6730e44b48", "f33e9e67b74d", "3d179e9de850"),
    "pole": ("15ce6b940e6e", "cdd0bf440abc", "3e09b189587e"),
    "vnncomp": ("5ec67be43612", "742491cee378", "86d829ce2ea8"),
}


@pytest.mark.parametrize("name", STUDIES)
def test_the_plans_are_those_of_earlier_versions(name):
    study = study_named(name)
    plans = [study.plan(Data(study.dataset[scale], "0" * 64), scale, (0, 123)) for scale in SCALES]
    hashes = ["".join(config_hash(config) for config in plan) for plan in plans]
    assert tuple(hashlib.sha256(each.encode()).hexdigest()[:12] for each in hashes) == PLANS[name]


def test_an_unknown_study_is_named():
    with pytest.raises(InputError, match="study: 'nothing'"):
        study_named("nothing")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A folder in the layout of CIFAR-10: of each class one colour, and noise."""
    folder = tmp_path_factory.mktemp("photographs") / "cifar-10-batches-bin"
    folder.mkdir()
    rng = generator(0, "photographs")
    colours = rng.integers(0, 200, (10, 3))
    for name in cifar10.FILES:
        labels = rng.integers(0, 10, 40)
        pixels = colours[labels][:, :, None] + rng.integers(0, 56, (40, 3, 1024))
        np.concatenate([labels[:, None], pixels.reshape(40, -1)], axis=1).astype(np.uint8).tofile(folder / name)
    return datasets.load(str(folder))


def test_on_photographs_the_ablation_sees_through_an_encoder_and_examines_it_as_well(photographs, tmp_path):
    ablation = study_named("ablation")
    plan = ablation.plan(Data(photographs.name, photographs.sha256), "smoke", (0,))
    examined = {each.train for each in plan if isinstance(each, EvaluatedModel)}
    (network,) = (train for train in examined if train.encoder is None)
    assert len(examined) == 5
    assert {train.encoder for train in examined} == {None, network}
    some = {network, next(train for train in examined if train.batch_size == 10 and train.model.inputs_per_cell)}
    chosen = [each for each in plan if set(each.trainings) <= some]
    smaller = dataclasses.replace(ablation, plan=lambda data, scale, seeds: chosen)
    list(carry_out(smaller, "smoke", (0,), photographs, tmp_path))
    steps = {each.attack.step_size for each in plan if isinstance(each, AttackedModel) and each.attack.method == "pgd"}
    assert steps == {0.01, 2.5 * 2 / 255 / 40, 2.5 * 8 / 255 / 40}
    table = (tmp_path / "table.md").read_text()
    assert "| PGD 8/255 (fitting step) |" in table
    assert "behind an encoder" in table
    assert len(list(tmp_path.glob("runs/*/features-*.npy"))) == 2
