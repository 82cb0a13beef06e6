"""How much does each difference between the paper and its authors' code matter?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from minicereb.experiments.architectures import CerebellumModel
from minicereb.experiments.configs import Data, Experiment, Train
from minicereb.experiments.evaluation.settings import EvaluatedModel
from minicereb.experiments.kinds.attacked import AttackedModel
from minicereb.report.formats import mean_share, number_or_dash
from minicereb.report.page import Text
from minicereb.robustness.catalogue import PAPER_STEP, PAPER_STEPS
from minicereb.studies.protocol import EXPECTED, as_coded, as_printed, evaluated, paper_pgd, published, strengths
from minicereb.studies.published import Logged, logged_for
from minicereb.studies.results import Blocks, Results, tabulate
from minicereb.studies.study import Study
from minicereb.studies.tables import accuracy_of, accuracy_under, by_model, shares, training_of

EPSILON = 0.1
WAYS_OF_ATTACKING = (("mse", "last"), ("mse", "best"), ("margin", "last"), ("margin", "best"))
FULL, SPARSE = (None, 5_000, True), (4, 200_000, True)
# Per scale: models on which every difference is tried, and other models: inputs per cell (None: all), cells, LTD; epochs.
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
    """Yield training runs with their names: first with the settings of the authors' code, last with the settings of the paper.

    In between are runs with the code's settings except one, which is changed to match the paper.
    """
    coded = as_coded(model, data, epochs, seed)
    yield "as the code has it", coded
    yield "batch of ten", replace(coded, batch_size=10)
    if model.wiring == "random":
        yield "without replacement", replace(coded, model=model)
    yield "chosen on held-out images", replace(coded, validation=1 / 12, choose_on="validation")
    yield "as the paper has it", as_printed(model, data, epochs, seed)


ENDS = ("as the code has it", "as the paper has it")


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[Experiment]:
    """Attack and evaluate every model, trained as in the code and as in the paper; attack some models trained in other ways."""
    dissected, others, epochs = SIZES[scale]
    experiments: list[Experiment] = []
    for inputs, cells, ltd in (*dissected, *others):
        model = CerebellumModel("full" if inputs is None else "random", cells, inputs, ltd=ltd)
        for seed in seeds:
            for name, train in ways(model, data, epochs, seed):
                if name in ENDS or (inputs, cells, ltd) in dissected:
                    attacks = [paper_pgd(objective, EPSILON, seed, keep=keep) for objective, keep in WAYS_OF_ATTACKING]
                    experiments += [AttackedModel(train, attack, strengths(data).attacked[scale]) for attack in attacks]
                if name in ENDS:
                    experiments.append(evaluated(train, scale))
    return experiments


def _label(train: Train) -> str:
    """Return a description of the model and of its training."""
    model: CerebellumModel = replace(train.model, replacement=False)  # type: ignore
    way = next(name for name, other in ways(model, train.data, train.epochs, train.seed) if other == train)
    return f"{model.description}: {way}"


def table(results: Results) -> Blocks:
    """Show each model's accuracy for each way of training, under four kinds of PGD with 40 steps, and under all attacks."""
    models = by_model(results, _label)

    def printed(model: Results, name: str) -> str:
        return number_or_dash(getattr(logged_for(training_of(model)) or Logged(), name))

    attacked = [
        (f"{objective}, {keep}", partial(accuracy_under, objective=objective, keep=keep)) for objective, keep in WAYS_OF_ATTACKING
    ]
    images = results.where(AttackedModel)[0][1]["images"]
    legend = (
        f"Accuracy in % (95% interval). Columns between: PGD, {PAPER_STEPS} steps of {PAPER_STEP:g} at ε = {EPSILON:g} on the "
        f"first {images:,} test images, by objective and by the iterate that counts; the code has «mse, last», and so have the "
        "published figures. Each row except the ends differs from the code in one thing. Last column: on the first "
        f"{results.where(EvaluatedModel)[0][1]['images']:,} images."
    )
    columns: list[tuple[str, Callable[[Results], str]]] = [
        ("test", accuracy_of),
        ("published", lambda model: printed(model, "test")),
        *attacked,
        ("published", lambda model: printed(model, "pgd")),
        (f"under all attacks, ε = {EPSILON:g}", _under_all),
    ]
    return [tabulate("model", models, *columns), Text(legend)]


def _under_all(model: Results) -> str:
    evaluations = model.where(EvaluatedModel)
    if not evaluations:
        return "-"
    config, record = evaluations[0]
    return mean_share(shares(model, "attacked", config.epsilons.index(EPSILON)), record["images"])


PAPER_VERSUS_CODE = Study(
    "paper-versus-code",
    "How much does each difference between the cerebellum paper and its authors' code matter, for accuracy and under attack?",
    plan,
    table,
    expectation=EXPECTED + "Of these differences it says nothing.",
    published=published,
    inputs=784,  # the number of pixels of the digits to which the authors' figures refer
)
