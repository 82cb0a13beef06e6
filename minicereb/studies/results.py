"""The results of a study: pairs of an experiment and its record, for selection, grouping and averaging."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from minicereb.experiments.laboratory import Record
from minicereb.report.page import Table, Text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Blocks = list[Table | Text]
Figures = Mapping[str, "Figure"]
Key = TypeVar("Key", bound=Hashable)
Group = TypeVar("Group")


class Results(list[tuple[Any, Record]]):
    """Pairs of experiment and record, in the order of the study's plan.

    Parameters
    ----------
    pairs : iterable of (experiment, record)
    folder : Path
        Folder of the study, for the parts of a record stored in files.

    Examples
    --------
    >>> from types import SimpleNamespace as Config
    >>> results = Results([(Config(epsilon=0.1, seed=0), {"share": 0.5}), (Config(epsilon=0.3, seed=0), {"share": None})])
    >>> results.where(epsilon=0.1).mean("share")
    0.5
    >>> {epsilon: group.values("share") for epsilon, group in results.by(lambda config: config.epsilon).items()}
    {0.1: [0.5], 0.3: []}
    """

    def __init__(self, pairs: Iterable[tuple[Any, Record]] = (), folder: Path = Path()):
        super().__init__(pairs)
        self.folder = folder

    def where(self, kind: Any = object, test: Callable[[Any], bool] = lambda config: True, **settings: object) -> Results:
        """Return the results of the experiments that meet all of these conditions.

        Parameters
        ----------
        kind : type or union of types
        test : callable
            Predicate on experiments of this kind.
        **settings
            Required values of the experiment's fields or, if it has no such field, of its attack's fields.
        """
        chosen = ((c, r) for c, r in self if isinstance(c, kind) and test(c))
        wanted = settings.items()
        return Results(((c, r) for c, r in chosen if all(_setting(c, name) == value for name, value in wanted)), self.folder)

    def by(self, key: Callable[[Any], Key]) -> dict[Key, Results]:
        """Group the results by the `key` of each experiment, in the order of the plan."""
        groups: dict[Key, Results] = {}
        for config, record in self:
            groups.setdefault(key(config), Results(folder=self.folder)).append((config, record))
        return groups

    def values(self, of: str | Callable[[Record], Any]) -> list[Any]:
        """Return the entry `of` from each record that has it; ``"true.before"`` means ``record["true"]["before"]``."""
        return [value for _, record in self if (value := _entry(record, of)) is not None]

    def mean(self, of: str | Callable[[Record], Any]) -> float | None:
        """Return the mean of :meth:`values`, or None if there are no values."""
        values = self.values(of)
        return sum(values) / len(values) if values else None

    @property
    def records(self) -> list[Record]:
        """The records, without their experiments."""
        return [record for _, record in self]

    @property
    def seeds(self) -> list[int]:
        """Seeds of the models, ascending."""
        return sorted({config.trainings[0].seed for config, _ in self if config.trainings})


def _setting(config: Any, name: str) -> object:
    return getattr(config, name) if hasattr(config, name) else getattr(config.attack, name)


def _entry(record: Any, of: str | Callable[[Record], Any]) -> Any:
    if callable(of):
        return of(record)
    for name in of.split("."):
        record = None if record is None else record[name]
    return record


def tabulate(corner: str, groups: Mapping[str, Group], *columns: tuple[str, Callable[[Group], str]]) -> Table:
    """Return a table with one row per group.

    A column is a heading and a function that formats a group's cell; the first column, under `corner`, has the groups' names.
    """
    rows = [[name, *(cell(group) for _, cell in columns)] for name, group in groups.items()]
    return Table([corner, *(heading for heading, _ in columns)], rows)
