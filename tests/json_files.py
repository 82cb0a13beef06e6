"""Reading JSON in tests, whatever it holds."""

import json


def read_any(path):
    return json.loads(path.read_text(encoding="utf-8"))
