"""``minicereb certify``: prove the robustness of a run's model on each image, or a property of a network from a file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from minicereb.backend import to_device, to_numpy
from minicereb.cli.options import PATH, RESULTS, execution_options, moved_data, remark_on_unused, setting_options
from minicereb.cli.output import Answer, as_json, finish
from minicereb.documents import table
from minicereb.errors import InputError
from minicereb.experiments.kinds.certified import CertifiedModel, certification_folder, certify_run
from minicereb.experiments.kinds.decided import VERDICTS
from minicereb.experiments.runs import dataset_of, load_model, read_run
from minicereb.interchange.decide import decide
from minicereb.interchange.onnx_reader import read_onnx
from minicereb.interchange.vnnlib import read_vnnlib
from minicereb.paths import check_folder
from minicereb.report.formats import strength


@click.command()
@click.argument("run", type=RESULTS, metavar="RUN|NETWORK.onnx")
@setting_options(CertifiedModel, "epsilon", "images", "complete", "seconds_per_image")
@click.option("--vnnlib", type=PATH, metavar="FILE", help="Property of NETWORK.onnx, in the VNN-LIB format.")
@moved_data
@execution_options
@as_json
def certify(run: Path, dataset: str | None, vnnlib: Path | None, **settings: Any) -> Answer:
    """Decide for each image whether the model in the run folder RUN stays correct under every change of at most ε.

    An image is certified, broken by a counterexample that was tested on the model itself, or still unknown when its time is up.

    With --vnnlib, decide a property of a network from an ONNX file instead. The answer is sat if some input within the property's
    bounds satisfies the property, and unsat if a proof shows that none does. --seconds-per-image limits the whole search.
    """
    is_network = run.suffix.lower() == ".onnx"
    if is_network and vnnlib is None:
        raise InputError("run", str(run), "the folder of a run, or a network together with a property (--vnnlib)")
    if vnnlib is not None and not is_network:
        raise InputError(
            "vnnlib",
            str(vnnlib),
            f"nothing: a run such as {run} is certified on its images; only networks in .onnx files have properties",
        )
    if vnnlib is not None:
        remark_on_unused(["epsilon", "images", "complete", "dataset"], "--vnnlib")
        return _decided(run, vnnlib, settings["seconds_per_image"])
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


def _decided(network: Path, vnnlib: Path, seconds: float) -> Answer:
    model = read_onnx(network)
    found = decide(model, read_vnnlib(vnnlib), seconds)
    record = {
        "network": str(network),
        "property": str(vnnlib),
        "verdict": VERDICTS[found.verdict],
        "bound": found.bound if math.isfinite(found.bound) else None,
        "branches": found.branches,
        "seconds": found.seconds,
        "counterexample": None,
        "outputs": None,
    }
    meaning = {
        "certified": "no input within the property's bounds satisfies it",
        "broken": "the input below, tested on the network itself, satisfies it",
        "unknown": f"undecided after {seconds:g} s",
    }[found.verdict]
    text = f"{record['verdict']}: {meaning}\n\n{found.branches:,} branches, {found.seconds:.1f} s"
    if found.counterexample is not None:
        x = found.counterexample
        z = to_numpy(model.network.forward(to_device(x[None] if model.order is None else x[None, model.order]))[0])[0]
        record |= {"counterexample": x.tolist(), "outputs": z.tolist()}
        text += f"\ninput X: {' '.join(f'{each:.9g}' for each in x)}\noutputs Y: {' '.join(f'{each:.6g}' for each in z)}"
    return Answer(record, text)
