"""What is each difference between the paper and its authors' code worth?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from minicereb.attacks.settings import Attack
from minicereb.experiments.architectures import CerebellumModel
from minicereb.experiments.configs import AttackedModel, Data, Experiment, Train
from minicereb.experiments.evaluation.settings import EvaluatedModel
from minicereb.report.pipes import markdown
from minicereb.robustness.catalogue import PAPER_STEP, PAPER_STEPS
from minicereb.studies.protocol import EXPECTED, as_coded, as_printed, evaluated, published, strengths
from minicereb.studies.published import Logged
from minicereb.studies.study import Results, Study
from minicereb.studies.tables import Found, grouped, or_dash, with_interval

EPSILON = 0.1
WAYS_OF_ATTACKING = (("mse", "last"), ("mse", "best"), ("margin", "last"), ("margin", "best"))
FULL, SPARSE = (None, 5_000, True), (4, 200_000, True)
# Per scale: models that every difference is tried on, and others: inputs per cell (None: all), cells, LTD; epochs.
SIZES = {
    "smoke": (((None, 100, True), (4, 500, True)), (), 1),
    "course": (((None, 1_000, False), (None, 1_000, True), (4, 20_000, True)), (), 2),
    "paper": (
        (FULL, SPARSE),
        (
            *((None, cells, ltd) for cells in (1_000, 2_000, 5_000) for ltd in (False, True) if (None, cells, ltd) != FULL),
            *((inputs, round(4_800_000 / (inputs + 20)), True) for inputs in (1, 10, 784)),
        ),
        10,
    ),
}


def ways(model: CerebellumModel, data: Data, epochs: int, seed: int) -> Iterator[tuple[str, Train]]:
    """Yield the ways between the code and the paper by name: both, and the code with one thing as the paper has it."""
    coded = as_coded(model, data, epochs, seed)
    yield "as the code has it", coded
    yield "batch of ten", replace(coded, batch_size=10)
    if model.wiring == "random":
        yield "without replacement", replace(coded, model=model)
    yield "chosen on images held out", replace(coded, validation=1 / 12, choose_on="validation")
    yield "as the paper has it", as_printed(model, data, epochs, seed)


ENDS = ("as the code has it", "as the paper has it")


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[Experiment]:
    """Some models in every way, others as coded and as printed; the whole evaluation of the two ends."""
    dissected, others, epochs = SIZES[scale]
    experiments: list[Experiment] = []
    for inputs, cells, ltd in (*dissected, *others):
        model = CerebellumModel("full" if inputs is None else "random", cells, inputs, ltd=ltd)
        for seed in seeds:
            for name, train in ways(model, data, epochs, seed):
                if name in ENDS or (inputs, cells, ltd) in dissected:
                    experiments += [AttackedModel(train, attack, strengths(data).attacked[scale]) for attack in _attacks(seed)]
                if name in ENDS:
                    experiments.append(evaluated(train, scale, seed))
    return experiments


def _attacks(seed: int) -> list[Attack]:
    return [
        Attack("pgd", objective, EPSILON, steps=PAPER_STEPS, step_size=PAPER_STEP, seed=seed, keep=keep)
        for objective, keep in WAYS_OF_ATTACKING
    ]


def _way(train: Train) -> str:
    """The name of the way in which a model has learned."""
    model = _without_replacement(train)
    return next(name for name, other in ways(model, train.data, train.epochs, train.seed) if other == train)


def _without_replacement(train: Train) -> CerebellumModel:
    assert isinstance(train.model, CerebellumModel)
    return replace(train.model, replacement=False)


def _named(train: Train) -> str:
    return f"{_without_replacement(train).description}: {_way(train)}"


def table(results: Results) -> str:
    """One row for each model and way of learning: accuracy, then the same forty steps of PGD in four ways, then all attacks."""
    found = grouped(results, _named)
    head = ["model", "test", "published", *(f"{objective}, {keep}" for objective, keep in WAYS_OF_ATTACKING), "published"]
    rows = []
    for each in found:
        logged = each.published or Logged()
        attacked = [each.under("pgd", EPSILON, *way) for way in WAYS_OF_ATTACKING]
        rows.append([each.name, each.test, or_dash(logged.test), *attacked, or_dash(logged.pgd), _left(each)])
    images = found[0].attacked_images
    return "\n".join(
        [
            *markdown([*head, f"left by all attacks, ε = {EPSILON:g}"], rows),
            "",
            f"Accuracy in % (95% interval). Columns between: PGD, {PAPER_STEPS} steps of {PAPER_STEP:g} at ε = {EPSILON:g} on "
            f"the first {images:,} test images, by objective and by which iterate counts; the code has «mse, last», so have the "
            "published figures. Each row but the ends differs from the code in one thing. Last column: on the first "
            f"{_evaluated_images(found):,} images.",
        ]
    )


def _left(found: Found) -> str:
    if not found.evaluations:
        return "-"
    config, record = found.evaluations[0]
    return with_interval(found.shares("attacked", config.epsilons.index(EPSILON)), record["images"])


def _evaluated_images(found: list[Found]) -> int:
    return next(record["images"] for each in found for config, record in each.evaluations if isinstance(config, EvaluatedModel))


PAPER_VERSUS_CODE = Study(
    "paper-versus-code",
    "What is each difference between the cerebellum paper and its authors' code worth, in accuracy and under attack?",
    {"smoke": "strokes", "course": "mnist", "paper": "mnist"},
    plan,
    table,
    published=published,
    inputs=784,  # of the digits that the authors' figures are about
    expectation=EXPECTED + "Of these differences it says nothing.",
)
