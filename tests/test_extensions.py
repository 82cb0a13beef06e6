"""Extensions by other packages: found by name, imported when needed, refused in one line."""

from importlib.metadata import EntryPoint

import pytest

from minicereb import extensions
from minicereb.errors import ExtensionError
from minicereb.extensions import load, offered, with_extensions

GROUP = "minicereb.attacks"


@pytest.fixture
def points(monkeypatch):
    """Make entry points of NAME=VALUE pairs the installed ones."""

    def install(*pairs):
        made = [EntryPoint(name, value, GROUP) for name, value in pairs]
        monkeypatch.setattr(extensions, "entry_points", lambda group: [point for point in made if point.group == group])
        offered.cache_clear()

    yield install
    offered.cache_clear()


def test_names_are_known_without_an_import(points):
    points(("two", "no_such_module:THING"), ("one", "math:pi"))
    assert list(offered(GROUP)) == ["one", "two"]
    assert offered("minicereb.studies") == {}


def test_an_extension_stands_after_our_own(points):
    points(("one", "math:pi"))
    assert list(with_extensions(GROUP, {"own": 2.5}, float).items())[0] == ("own", 2.5)
    assert load(GROUP, "one", float) == pytest.approx(3.14159, abs=1e-5)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([("own", "math:pi")], "'own' (math:pi) is a name of minicereb's own; choose another"),
        ([("one", "math:pi")], "'one' (math:pi) is of type float; expected int"),
        ([("one", "no_such_module:THING")], "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'"),
        ([("one", "math:nothing")], "cannot be imported: AttributeError"),
        ([("one", "math:pi"), ("one", "math:e")], "two packages offer 'one': math:pi and math:e; uninstall one"),
    ],
)
def test_what_cannot_be_used_is_one_line(points, pairs, message):
    points(*pairs)
    with pytest.raises(ExtensionError) as error:
        with_extensions(GROUP, {"own": 2}, int)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1
