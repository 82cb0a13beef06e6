"""README and the documentation's front page: short, and with pictures that the project draws."""

import ast
import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_readme_fits_on_a_screen():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) < 600


def test_the_pictures_are_drawn_from_the_results():
    """If this fails: python docs/front_page.py."""
    spec = importlib.util.spec_from_file_location("front_page", ROOT / "docs" / "front_page.py")
    front_page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(front_page)
    for theme in ("light", "dark"):
        assert (ROOT / "docs" / "images" / f"circuit-{theme}.svg").read_text(encoding="utf-8") == front_page.circuit(theme=theme)
    assert (ROOT / "docs" / "images" / "circuit.svg").read_text(encoding="utf-8") == front_page.circuit()
    _, reported, left = front_page.curves()
    assert reported[0] == left[0]
    assert all(a >= b for a, b in zip(reported, left, strict=True))
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    at = front_page.curves()[0].index(0.1)
    assert f"leaves {reported[at]:.0f}% at 0.1" in index
    assert left[at] == 0


def test_every_page_is_in_the_table_of_contents():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    listed = {line for block in re.findall(r"```\{toctree\}\n(.*?)```", index, re.DOTALL) for line in block.split()}
    assert {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"} <= listed


def test_code_in_the_pages_is_code():
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    blocks = [
        (page, code) for page in pages for code in re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)
    ]
    assert len(blocks) > 5
    for page, code in blocks:
        ast.parse(code, str(page))
