"""kill -9 at a chosen write, without a process: nothing in the package catches it or tidies up after it."""

import itertools
import os
from contextlib import contextmanager
from pathlib import Path

import pytest


class Killed(BaseException):
    pass


def killed_at_each_write(work):
    """Call ``work(n)`` for n = 1, 2, ... and kill it when its n-th file is complete but has not taken its name.

    Yields n after each that was killed; ends with the first that was through before.
    """
    for number in itertools.count(1):
        with killed_at(number):
            try:
                work(number)
                return
            except Killed:
                pass
        yield number


@contextmanager
def killed_at(left):
    replace, unlink = os.replace, Path.unlink

    def replacing(*paths):
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed
        replace(*paths)

    def unlinking(path, missing_ok=False):
        if left > 0:
            unlink(path, missing_ok)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", replacing)
        patch.setattr(Path, "unlink", unlinking)
        yield
