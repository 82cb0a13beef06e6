"""Find out what is wrong with an answer: compare a student's function with the right one and with known mistakes."""

from minicereb.diagnosis.derivative import check_derivative
from minicereb.diagnosis.diagnose import diagnose
from minicereb.diagnosis.hints import Case, Diagnosis, Hint, Mistake, Task

__all__ = ["Case", "Diagnosis", "Hint", "Mistake", "Task", "check_derivative", "diagnose"]
