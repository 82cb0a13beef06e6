"""``minicereb certify``: what is proved of a model, image by image, by linear relaxation and branch and bound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from minicereb.cli.options import RESULTS, execution_options, moved_data, setting_options
from minicereb.cli.output import Answer, as_json, finish, table
from minicereb.experiments.kinds.certified import CertifiedModel, certification_folder, certify_run
from minicereb.experiments.runs import dataset_of, load_model, read_run
from minicereb.paths import check_folder
from minicereb.report.formats import strength


@click.command()
@click.argument("run", type=RESULTS)
@setting_options(CertifiedModel, "epsilon", "images", "complete", "seconds_per_image")
@moved_data
@execution_options
@as_json
def certify(run: Path, dataset: str | None, **settings: Any) -> Answer:
    """Decide of images whether the model of the run folder RUN answers rightly for every change of at most ε.

    An image is certified, broken by a counterexample that the model itself has been shown, or unknown when its time is up.
    """
    found = read_run(run)
    config = CertifiedModel(found.config, **settings)
    data = dataset_of(found, dataset)
    model, folder = load_model(found, data), certification_folder(found, config)
    check_folder(folder)
    record = finish(certify_run(config, found, model, data), folder=folder)
    rows = [
        ("clean accuracy", f"{100 * record['clean_accuracy']:.1f}"),
        *(
            (name, f"{100 * record[key]:.1f} ({100 * low:.1f} to {100 * high:.1f})")
            for name, key in (("certified (95% interval)", "certified"), ("not broken (95% interval)", "not_broken"))
            for low, high in (record[f"{key}_interval"],)
        ),
    ]
    text = (
        f"{record['run']}: {record['model']}, the first {record['images']:,} test images of {record['data']}\n\n"
        f"{table(('accuracy in %', f'ε = {strength(config.epsilon)}'), rows)}\n\n"
        f"{record['by_relaxation']:,} certified by linear relaxation alone, {record['unknown']:,} unknown, "
        f"{record['branches']:,} branches, {record['seconds']:.1f} s; verdicts of every image: {folder}"
    )
    return Answer({**record, "folder": str(folder)}, text)
