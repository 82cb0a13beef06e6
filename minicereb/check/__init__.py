"""Is a derivative right, and if not, what is wrong with it? Checkers for functions that someone else wrote."""

from minicereb.check.derivative import check_derivative
from minicereb.check.diagnosis import diagnose
from minicereb.check.hints import Case, Hint, Mistake, Task, Verdict

__all__ = ["Case", "Hint", "Mistake", "Task", "Verdict", "check_derivative", "diagnose"]
