"""Is a derivative right, and if not, what is wrong with it? Checkers for functions that someone else wrote."""

from minicereb.diagnosis.diagnose import diagnose
from minicereb.diagnosis.hints import Case, Hint, Mistake, Task, Verdict
from minicereb.gradcheck.derivative import check_derivative

__all__ = ["Case", "Hint", "Mistake", "Task", "Verdict", "check_derivative", "diagnose"]
