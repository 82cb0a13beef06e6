"""minicereb: biological learning and its adversarial robustness, from scratch, with every gradient written out."""

import os as _os

__version__ = "0.1.0"

# An installed package has `cli` and `data` within; in a checkout they lie beside it (package_dir in setup.cfg). Python started in
# a checkout, as by `python -m pytest`, finds this folder before what was installed, and must find them too.
_here = _os.path.dirname(_os.path.abspath(__file__))
_beside = _os.path.dirname(_here)
if _os.path.isfile(_os.path.join(_beside, "cli", "main.py")) and not _os.path.isdir(_os.path.join(_here, "cli")):
    __path__.append(_beside)
