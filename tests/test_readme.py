"""README as a newcomer follows it: code, environment, two commands, and an example that says what was learned."""

import configparser
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_code_and_environment_come_before_the_first_command():
    before, block = README.split("```sh\n", 1)
    commands = block.partition("```")[0].splitlines()
    assert len(commands) == 2  # .ci/run gives them word for word
    assert commands[0].startswith("python -m pip install . ")
    steps = [line.strip() for line in before.splitlines() if line.startswith("    ")]
    clone, enter, environment = steps
    assert clone.startswith("git clone ADDRESS minicereb ")
    assert "no public one yet" in clone
    assert enter == "cd minicereb"
    assert environment.startswith("python3 -m venv .venv && . .venv/bin/activate")
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    assert "url" not in settings["metadata"], "there is an address now: README can name it"


def test_first_steps_begin_the_same_way():
    text = (ROOT / "docs" / "first-steps.md").read_text(encoding="utf-8")
    places = [text.index(words) for words in ("git clone ADDRESS minicereb", "python3 -m venv .venv", "python -m pip install .")]
    assert places == sorted(places)


def test_the_python_example_says_what_was_learned(capsys):
    (example,) = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    exec(example, {})
    accuracy, *table = capsys.readouterr().out.splitlines()
    assert float(re.fullmatch(r"test accuracy (\d+\.\d)%", accuracy)[1]) > 85
    assert table[0] == "pgd on margin, ε = 0.1, 40 steps, 1,000 images"
    clean, attacked = (float(line.split()[1]) for line in table[2:])
    assert clean > 85 > 20 > attacked
