"""A study of one's own, as another package would offer it: do more steps of PGD break more images?"""

from minicereb.attacks.settings import Attack
from minicereb.experiments.architectures import CerebellumModel
from minicereb.experiments.configs import Train
from minicereb.experiments.kinds.attacked import AttackedModel
from minicereb.report.formats import mean_share
from minicereb.report.page import Text
from minicereb.studies import Study
from minicereb.studies.results import tabulate

STEPS = {"smoke": (1, 5), "course": (10, 40), "paper": (10, 40, 160)}


def plan(data, scale, seeds):
    trains = [Train(CerebellumModel("full", 200), data, 10, 1, 0.5 / 200, seed=seed) for seed in seeds]
    attacks = [Attack("pgd", "margin", 0.1, steps=steps, step_size=0.25 / steps) for steps in STEPS[scale]]
    return [AttackedModel(train, attack, 50) for train in trains for attack in attacks]


def table(results):
    by_steps = results.by(lambda config: f"{config.attack.steps}")
    robust = ("robust accuracy, %", lambda group: mean_share(group.values("robust_accuracy"), 50))
    return [tabulate("steps", by_steps, robust), Text("PGD on the margin, ε = 0.1, first 50 test images; 95% intervals.")]


STUDY = Study("steps", "Do more steps of PGD break more images?", plan, table)
