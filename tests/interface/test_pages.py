"""The code on the pages about Python runs as it is printed, where the packages that it uses are installed."""

import contextlib
import importlib.util
import re
import warnings
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [DOCS / "python.md", *sorted(path for path in (DOCS / "with").glob("*.md") if path.stem != "differences")]
PACKAGES = ("sklearn", "torch", "onnx", "art", "foolbox", "torchvision")


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_runs(page, tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert blocks
    code = "\n".join(blocks)
    for package in PACKAGES:
        if re.search(rf"^\s*(import|from) {package}\b", code, re.MULTILINE) and importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    monkeypatch.chdir(tmp_path)
    with contextlib.ExitStack() as stack:
        if page.stem != "python":
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")  # other packages' remarks
        exec(compile(code, str(page), "exec"), {})
    assert capsys.readouterr().out
