#!/usr/bin/env bash
# A lesson as a notebook: with nb_merge_streams MyST-NB stores printed text twice in the notebook that readers download.
#
# Seen 2026-11-28 (Python 3.11, Linux x86_64) with myst-nb 1.4.0, sphinx 9.0.4 and ipykernel 7.4.0. One cell prints "one", waits, and prints "two".
# Jupyter delivers that as two outputs. With nb_merge_streams = True the page shows both lines once, as it should; but the merging lengthens
# the first output in place before the notebook is stored, so the file behind {nb-download} holds "one two" and after it "two" again.
# With nb_merge_streams = False the stored notebook is right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q myst-nb==1.4.0 sphinx==9.0.4 ipykernel==7.4.0
mkdir "$folder/pages"
cat > "$folder/pages/index.md" <<'PAGE'
---
file_format: mystnb
kernelspec:
  name: python3
---
# A lesson

```{code-cell} python
import time
print("one", flush=True)
time.sleep(1)
print("two")
```

{nb-download}`index.ipynb`
PAGE
cat > "$folder/count.py" <<'PYTHON'
import json
import pathlib
import sys

(stored,) = pathlib.Path(sys.argv[1]).rglob("index.ipynb")
cells = json.loads(stored.read_text())["cells"]
text = "".join("".join(output.get("text", "")) for cell in cells for output in cell.get("outputs", []))
page = (pathlib.Path(sys.argv[1]) / "index.html").read_text()
print(repr(text))
assert page.count("two\n") == 1 + page.count('print("two")\n')
PYTHON
for merge in True False; do
  printf 'project = "lesson"\nextensions = ["myst_nb"]\nnb_merge_streams = %s\n' "$merge" > "$folder/pages/conf.py"
  "$folder/venv/bin/python" -m sphinx -q -E -b html "$folder/pages" "$folder/html-$merge"
  found=$("$folder/venv/bin/python" "$folder/count.py" "$folder/html-$merge")
  echo "nb_merge_streams = $merge: $found"
  if [ "$merge" = True ]; then [ "$found" = "'one\\ntwo\\ntwo\\n'" ]; else [ "$found" = "'one\\ntwo\\n'" ]; fi
done
