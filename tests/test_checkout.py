"""Python started in a checkout, where the folder of the package comes before what was installed."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
WITHOUT_EDITABLE = (
    "import sys; sys.meta_path = [each for each in sys.meta_path if 'editable' not in getattr(each, '__module__', '')]\n"
)


def run(code):
    code = f"{WITHOUT_EDITABLE}sys.path.insert(0, {str(ROOT)!r})\n{code}"
    return subprocess.run(
        [sys.executable, "-P" if sys.version_info >= (3, 11) else "-B", "-c", code], capture_output=True, text=True
    )


def test_the_whole_package_is_found_beside_its_folder(tmp_path):
    done = run("import minicereb, minicereb.cli.main; print(minicereb.__file__, minicereb.cli.main.__file__)")
    assert done.stdout.split() == [str(ROOT / "minicereb" / "__init__.py"), str(ROOT / "cli" / "main.py")], done.stderr


def test_its_data_are_found_too():
    done = run("from minicereb.datasets.store import downloads; print(*downloads())")
    assert "mnist" in done.stdout.split(), done.stderr
