"""What imports what, what is never used, and what is written down: rules of the whole source, read without running it."""

import ast
import collections
import configparser
import dataclasses
import importlib
import pkgutil
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from minicereb import experiments
from minicereb.attacks.run import attack_images
from minicereb.attacks.settings import Attack
from minicereb.experiments.architectures import exported_arrays
from minicereb.experiments.identity import KINDS
from minicereb.experiments.kinds.attacked import Tally
from minicereb.files import write_npz

ROOT = Path(__file__).parents[1]
LAYERS = (  # a module may import from its own layer and those above it here
    (
        "errors",
        "extensions",
        "backend",
        "inputs",
        "compiled",
        "parallel",
        "randomness",
        "paths",
        "documents",
        "settings",
        "files",
        "statistics",
    ),
    ("calculus", "datasets"),
    ("models",),
    ("learning",),
    ("attacks", "tasks", "gradcheck", "diagnosis"),
    ("certificates", "interchange"),
    ("robustness",),
    ("report",),
    ("experiments",),
    ("studies",),
    ("explain", "explore", "exercises", "bench", "machine", "interface"),
    ("cli",),
)
OWNERS = {
    "cupy": "minicereb.backend",
    "cupyx": "minicereb.backend",
    "numba": "minicereb.compiled",
    "llvmlite": "minicereb.compiled",
}  # the only importers
FRAMEWORKS = {"torch", "torchvision", "tensorflow", "keras", "jax", "jaxlib", "flax", "mxnet", "paddle", "mindspore", "theano"}
FRAMEWORKS |= {
    "aesara",
    "pytensor",
    "autograd",
    "chainer",
    "tinygrad",
    "foolbox",
    "art",
    "cleverhans",
    "torchattacks",
    "pyautoattack",
}
PICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
GENERATORS = {"randomness": {"Generator", "SFC64", "SeedSequence"}}  # elsewhere a generator's type, for annotations


def module_name(path):
    """``cli/train.py`` is minicereb.cli.train, as it is installed."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("minicereb", *parts) if parts[0] == "cli" else parts).removesuffix(".__init__")


SOURCES = {
    module_name(path): path.read_text(encoding="utf-8")
    for folder in ("minicereb", "cli")
    for path in (ROOT / folder).rglob("*.py")
}


def layer(module):
    """Number of a module's layer; the package itself, which holds the version, counts as ground."""
    part = (module.split(".") + [""])[1]
    return 0 if not part else next((number for number, names in enumerate(LAYERS) if part in names), None)


def imports(tree):
    """Everything that a source imports, with whether it stands inside a function."""
    inside = {id(node) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef) for node in ast.walk(f)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from ((name, id(node) in inside) for name in names)


def wrong_layers(module, source):
    """Imports of the project's own modules from a layer that builds on this one, or by a path that hides the layer."""
    here, found = layer(module), []
    if here is None:
        return [f"{module} has no layer"]
    for name, _ in imports(ast.parse(source)):
        is_ours, is_version = name.split(".")[0] in ("minicereb", ""), name == "minicereb.__version__"
        there = 0 if is_version else layer(name)
        if is_ours and (name.startswith(".") or there is None or there > here):
            found.append(f"{module} imports {name}")
    return found


def wrong_libraries(module, source):
    """Imports of CuPy, of Numba, of a framework or of something that pickles, where they do not belong."""
    found = []
    for name, inside in imports(ast.parse(source)):
        library = name.split(".")[0]
        if (
            OWNERS.get(library, module) != module
            or (library in FRAMEWORKS and not (module.startswith(("minicereb.bench.", "minicereb.interface.")) and inside))
            or library in PICKLERS
        ):
            found.append(f"{module} imports {name}")
    return found


def unpickled(module, source):
    """Calls that allow pickle."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and getattr(node.value, "value", None) is not False:
            yield f"{module}, line {node.value.lineno}: allow_pickle"


def global_randomness(module, source):
    """Uses of a random generator that has no address: NumPy's or CuPy's ``random`` functions, Python's own."""
    tree = ast.parse(source)
    allowed = GENERATORS.get(module.removeprefix("minicereb."), {"Generator"})
    for node in ast.walk(tree):
        is_function = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute) and node.value.attr == "random"
        if is_function and node.attr not in allowed:
            yield f"{module}, line {node.lineno}: {ast.unparse(node)}"
    for name, _ in imports(tree):
        if name.split(".")[0] in ("random", "secrets") or re.search(r"\.random(\.|$)", name):
            yield f"{module} imports {name}"


def undescribed(module, source):
    """Public functions, classes, methods and non-empty modules without a docstring."""
    tree = ast.parse(source)
    if tree.body and not ast.get_docstring(tree):
        yield module
    scopes = [(module, tree)]
    while scopes:
        prefix, scope = scopes.pop()
        for node in scope.body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
                continue
            if not ast.get_docstring(node):
                yield f"{prefix}.{node.name}"
            if isinstance(node, ast.ClassDef):
                scopes.append((f"{prefix}.{node.name}", node))


def unguarded_reads(module, source):
    """Files opened for reading other than by ``minicereb.paths``, which refuses pipes and devices; what is installed may be."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or module == "minicereb.paths":
            continue
        text, name = ast.unparse(node), getattr(node.func, "id", getattr(node.func, "attr", ""))
        is_open = (
            name == "open" and isinstance(node.func, ast.Name) and not any(mode in text for mode in ("'wb'", "'a+b'", "'x+b'"))
        )
        is_read = name in ("read_text", "read_bytes") and isinstance(node.func, ast.Attribute)
        if is_open or (is_read and not any(own in text for own in ("resources.files", "CHECKOUT", "_package()"))):
            yield f"{module}, line {node.lineno}: {text}"


def run_together(module, source):
    """Lines of a docstring's list of parameters that neither name one nor describe one."""
    for node in ast.walk(ast.parse(source)):
        docstring = ast.get_docstring(node) if isinstance(node, ast.FunctionDef | ast.ClassDef) else None
        for section in re.findall(
            r"^(?:Parameters|Attributes)\n-+\n(.*?)(?=\n\n\w|\Z)", docstring or "", re.MULTILINE | re.DOTALL
        ):
            lines = (line for line in section.splitlines() if line and not line.startswith(" "))
            yield from (line for line in lines if not re.fullmatch(r"\*{0,2}\w+(, \*{0,2}\w+)*(, \.\.\.)?( : .*)?", line))


RULES = (wrong_layers, wrong_libraries, unpickled, global_randomness, undescribed, unguarded_reads, run_together)


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_a_module_keeps_the_rules(module):
    assert [complaint for rule in RULES for complaint in rule(module, SOURCES[module])] == []


def test_the_walk_sees_the_whole_house():
    assert {"minicereb", "minicereb.backend", "minicereb.studies.study", "minicereb.cli.main"} <= SOURCES.keys()
    assert len(SOURCES) > 50


@pytest.mark.parametrize(
    ("rule", "module", "source"),
    [
        (wrong_layers, "minicereb.backend", "from minicereb.calculus.losses import margin"),
        (wrong_layers, "minicereb.calculus.losses", "import minicereb.models.wiring"),
        (wrong_layers, "minicereb.models.mlp", "from minicereb import learning"),
        (wrong_layers, "minicereb.models.mlp", "from ..learning import backprop"),
        (wrong_layers, "minicereb.models.mlp", "from . import layers"),
        (wrong_layers, "minicereb.report.figures", "def f():\n    from minicereb.studies.study import Results"),
        (wrong_layers, "minicereb.machine", "if TYPE_CHECKING:\n    from minicereb.cli.main import main"),
        (wrong_layers, "minicereb.models.mlp", "import minicereb.utilities"),
        (wrong_layers, "minicereb.utilities", ""),
        (wrong_layers, "minicereb", "from minicereb.datasets import load"),
        (wrong_libraries, "minicereb.models.mlp", "def f():\n    import cupy as cp"),
        (wrong_libraries, "minicereb.bench.peers", "def f():\n    from cupyx.scipy import sparse"),
        (wrong_libraries, "minicereb.bench.peers", "import torch"),
        (wrong_libraries, "minicereb.bench.peers", "class Peer:\n    import torch"),
        (wrong_libraries, "minicereb.interface.measuring", "from foolbox import PyTorchModel"),
        (wrong_libraries, "minicereb.learning.backprop", "def f():\n    from torch.nn import functional"),
        (wrong_libraries, "minicereb.cli.machine", "def f():\n    import jax.numpy as jnp"),
        (wrong_libraries, "minicereb.files", "import pickle"),
        (unpickled, "minicereb.files", "np.load(path, allow_pickle=True)"),
        (unpickled, "minicereb.files", "np.load(path, allow_pickle=trusted)"),
        (global_randomness, "minicereb.models.mlp", "w = np.random.standard_normal(3)"),
        (global_randomness, "minicereb.models.mlp", "rng = numpy.random.default_rng()"),
        (global_randomness, "minicereb.models.mlp", "np.random.seed(0)"),
        (global_randomness, "minicereb.models.mlp", "noise = xp.random.normal(size=3)"),
        (global_randomness, "minicereb.models.mlp", "from numpy.random import default_rng"),
        (global_randomness, "minicereb.models.mlp", "from numpy import random"),
        (global_randomness, "minicereb.models.mlp", "import random"),
        (global_randomness, "minicereb.models.mlp", "rng = np.random.SFC64(0)"),
        (unguarded_reads, "minicereb.files", "with open(path, 'rb') as file:\n    pass"),
        (unguarded_reads, "minicereb.files", "file = open(path)"),
        (unguarded_reads, "minicereb.files", "text = (folder / name).read_text()"),
        (
            run_together,
            "minicereb.files",
            'def f(a, b):\n    """Do.\n\n    Parameters\n    ----------\n    a : int\n        One\n    number. b : int\n    """',
        ),
        (undescribed, "minicereb.models.mlp", "x = 1"),
        (undescribed, "minicereb.models.mlp", '"""Models."""\ndef build(): pass'),
        (undescribed, "minicereb.models.mlp", '"""Models."""\nclass Layer: pass'),
        (undescribed, "minicereb.models.mlp", '"""Models."""\nclass Layer:\n    """A layer."""\n    def forward(self): pass'),
    ],
)
def test_what_breaks_a_rule_is_found(rule, module, source):
    assert len(list(rule(module, source))) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "minicereb.models.mlp",
            "from minicereb import __version__\nfrom minicereb.calculus.dense import dense\nimport numpy",
        ),
        ("minicereb.datasets.npz", "from minicereb.calculus.losses import one_hot"),
        ("minicereb.backend", "def _f():\n    import cupy\n    from cupyx.scipy import sparse"),
        ("minicereb.bench.peers", "def _f():\n    import torch"),
        ("minicereb.randomness", "def _f(rng: np.random.Generator):\n    return np.random.SeedSequence(0)"),
        ("minicereb.files", "np.load(path, allow_pickle=False)\nvalue = rng.random(3)"),
        ("minicereb.files", "text = read_text(path)\nwith atomic_write(path) as file, archive.open(name) as entry:\n    pass"),
        ("minicereb.files", "def _private(): pass\nclass _Private:\n    def method(self): pass"),
    ],
)
def test_what_keeps_the_rules_is_left_alone(module, source):
    assert [complaint for rule in RULES for complaint in rule(module, f'"""Words."""\n{source}')] == []


# -- packages ----------------------------------------------------------------------------------------------------------------


def wrong_packages(root):
    """Folders of code that setup.cfg does not install, packages there that do not exist, folders without ``__init__.py``."""
    settings = configparser.ConfigParser()
    settings.read(root / "setup.cfg", encoding="utf-8")
    declared = set(settings["options"]["packages"].split())
    folders = {path.parent for top in ("minicereb", "cli", "data") for path in (root / top).rglob("*.py")}
    packages = {".".join(folder.relative_to(root).parts): folder for folder in folders}
    installed = {name if name.split(".")[0] == "minicereb" else f"minicereb.{name}" for name in packages} | {"minicereb.data"}
    return sorted(declared ^ installed) + [name for name, folder in packages.items() if not (folder / "__init__.py").exists()]


def test_setup_lists_every_package():
    assert wrong_packages(ROOT) == []


# Libraries that only some commands need; where one is missing, the error says how to install it.
OPTIONAL = {"cupy", "cupyx", "numba", "distributed", "onnx", "sklearn", "torch", "art", "foolbox", "pyautoattack"}
OPTIONAL |= {"llvmlite"}  # comes with Numba
OPTIONAL |= {"IPython", "ipywidgets"}  # of notebooks: the first is always there, and without the second figures have no sliders


def missing_dependencies(sources, required):
    """Third-party libraries that a plain installation lacks and that the code does not treat as optional."""
    ours = {"minicereb", "", *sys.stdlib_module_names, *OPTIONAL, *(re.match(r"[\w-]+", line)[0] for line in required)}
    return {name.split(".")[0] for source in sources for name, _ in imports(ast.parse(source))} - ours


def test_a_plain_installation_has_every_library_that_is_not_optional():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    required = settings["options"]["install_requires"].split()
    assert missing_dependencies(SOURCES.values(), required) == set()
    assert missing_dependencies(["from jinja2 import Environment"], ["numpy>=1.26"]) == {"jinja2"}
    assert "report" in settings["options.extras_require"]  # commands from before name it


def test_no_advice_names_an_extra_of_a_package_that_no_index_has():
    texts = {path: path.read_text(encoding="utf-8") for top in ("minicereb", "cli", "docs") for path in (ROOT / top).rglob("*")
             if path.suffix in (".py", ".md") and "_build" not in path.parts}  # fmt: skip
    texts[ROOT / "README.md"] = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [str(path) for path, text in texts.items() if re.search(r"install[^\n]*minicereb\[\w", text)] == []


@pytest.mark.parametrize(
    ("listed", "made", "wrong"),
    [
        ("minicereb minicereb.cli minicereb.data", ["minicereb/__init__.py", "cli/__init__.py"], []),
        ("minicereb minicereb.data", ["minicereb/__init__.py", "cli/__init__.py"], ["minicereb.cli"]),
        ("minicereb minicereb.data", ["minicereb/__init__.py", "minicereb/tasks/__init__.py"], ["minicereb.tasks"]),
        ("minicereb minicereb.tasks minicereb.data", ["minicereb/__init__.py"], ["minicereb.tasks"]),
        ("minicereb minicereb.data", ["minicereb/mlp.py"], ["minicereb"]),
    ],
)
def test_a_package_that_is_not_listed_is_found(tmp_path, listed, made, wrong):
    (tmp_path / "setup.cfg").write_text("[options]\npackages =\n    " + listed.replace(" ", "\n    "))
    for path in made:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert wrong_packages(tmp_path) == wrong


# -- documentation -----------------------------------------------------------------------------------------------------------


def undocumented(page, sources):
    """Packages, and modules of no package, that the page of all modules lacks, and those that it has too many.

    Sphinx finds the modules of a package that the page names. Commands have a page of their own.
    """
    packages = {name.rpartition(".")[0] if name.count(".") > 1 else name for name in sources}
    listed = re.findall(r"^   (minicereb(?:\.\w+)+)$", page, re.MULTILINE)
    return sorted({name for name in packages if name.split(".")[1:2] not in ([], ["cli"])} ^ {*listed})


def test_every_module_has_its_place_in_the_documentation():
    assert undocumented((ROOT / "docs" / "api.md").read_text(encoding="utf-8"), SOURCES) == []


def test_a_module_without_a_place_in_the_documentation_is_found():
    page = "   minicereb.old\n   minicereb.models\n"
    sources = {
        "minicereb": "",
        "minicereb.new": "",
        "minicereb.models.mlp": "",
        "minicereb.cli.b": "",
        "minicereb.models.a.b": "",
    }
    assert undocumented(page, sources) == ["minicereb.models.a", "minicereb.new", "minicereb.old"]


@pytest.mark.parametrize("kind", ["full", "random"])
def test_the_documented_example_computes_the_outputs_of_an_exported_model(tmp_path, monkeypatch, capsys, build_cerebellum, kind):
    model = build_cerebellum(kind=kind, dtype=np.float32, **({"replacement": True} if kind == "random" else {}))
    rows, labels = np.arange(600, dtype=np.uint8).reshape(20, 30), np.arange(20) % 3
    tally = Tally(keep_images=True)
    for block in attack_images(model, Attack("pgd", "margin", 0.05, steps=2), rows, labels, np.arange(20)):
        tally.add(block)
    monkeypatch.chdir(tmp_path)
    tally.save("attacked.npz")
    write_npz("cerebellum.npz", exported_arrays(model))
    example = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "formats.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    names = {}
    exec(example, names)
    assert np.allclose(names["outputs"], model.forward(names["attacked"]["x_adv"])[0], rtol=0, atol=1e-5)
    assert "1.0 of the answers agree" in capsys.readouterr().out


def test_every_kind_of_settings_is_documented_with_all_its_fields():
    text = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    tables = dict(re.findall(r"^#### (\w+)\n\n(.*?)(?=^####|^<!--)", text, re.MULTILINE | re.DOTALL))
    later = " ".join(text.split()).partition("A field that was added later")[2]
    for module in pkgutil.walk_packages(experiments.__path__, "minicereb.experiments."):
        importlib.import_module(module.name)
    ours = {name: kind for name, kind in KINDS.items() if kind.__module__.startswith("minicereb.")}
    assert len(ours) > 25
    for name, kind in ours.items():
        for field in dataclasses.fields(kind):
            assert f"\n| `{field.name}` | " in tables.get(name, ""), (name, field.name)
            if field.metadata.get("added"):
                assert f"`{field.name}` (" in later, (name, field.name)


def test_no_two_public_classes_have_one_name():
    """One name for one thing: whoever searches for a class finds one."""
    found = collections.defaultdict(list)
    for module, source in SOURCES.items():
        for node in ast.parse(source).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(module)
    assert {name: modules for name, modules in found.items() if len(modules) > 1} == {}


def test_few_module_names_occur_in_several_packages():
    """At most ten, none in more than three; a module of the command line is named like its command and does not count."""
    found = collections.Counter(
        module.rsplit(".", 1)[1]
        for module in SOURCES
        if "." in module and not module.startswith("minicereb.cli.") and not (ROOT / module.replace(".", "/")).is_dir()
    )
    several = {name: count for name, count in found.items() if count > 1}
    assert len(several) <= 10, several
    assert max(several.values()) <= 3, several
