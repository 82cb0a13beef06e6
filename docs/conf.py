"""How the documentation is built: ``sphinx-build -W -b html docs OUT``. Needs minicereb installed, and no network.

The lessons' code is executed. Each executed lesson can be downloaded as a notebook, and has slides. ``-D html_baseurl=ADDRESS``
says where the pages will be published: the links of the notebooks then lead there. ``-D repository=OWNER/NAME`` says where
minicereb is on GitHub: lessons can then be opened in Binder and Colab.
"""

import copy
import importlib.util
import os
import re
import shutil
import sys
from pathlib import Path

import minicereb

HERE, PACKAGE = Path(__file__).parent, Path(minicereb.__file__).parent
sys.path.insert(0, str(HERE))
import explore_page  # noqa: E402
import slides  # noqa: E402
from docutils import nodes  # noqa: E402
from equation_table import as_environment, in_documentation, table, typeset  # noqa: E402
from myst_nb.core import render  # noqa: E402
from notebooks import TO_RUN, in_the_browser, rewrite  # noqa: E402

from minicereb.report.sliders import STATIC  # noqa: E402

project = "minicereb"
author = "minicereb contributors"
copyright = author
version = release = minicereb.__version__

shutil.rmtree(HERE / "api", ignore_errors=True)  # pages of modules, written at every build: some may have gone

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
extensions += ["sphinx-mathjax-offline", "sphinx_copybutton"]  # formulas without a network; a button that copies a block of code
exclude_patterns = ["_build", "solutions", "templates"]
templates_path = ["templates"]
autosummary_context = {  # packages have pages of their own, which list their modules
    "packages": {".".join(path.parent.relative_to(PACKAGE.parent).parts) for path in PACKAGE.rglob("__init__.py")}
}
smartquotes = False  # --json is two hyphens
myst_heading_anchors = 3
myst_enable_extensions = ["amsmath"]

os.environ[STATIC] = "1"  # figures without sliders, which pages and slides could not show
nb_execution_mode = "force"  # the lessons' cells, at every build: what they print is the package's as it is
nb_execution_in_temp = True
nb_execution_timeout = 600  # of a cell; each takes seconds where nothing else runs
nb_execution_raise_on_error = True
nb_output_stderr = "error"  # Python's warnings too
nb_code_prompt_show, nb_code_prompt_hide = "Show the code", "Hide the code"
nb_merge_streams = True  # what a cell prints stands together, however slow it was

napoleon_google_docstring = False
napoleon_custom_sections = [("Attributes", "params_style")]  # as a list; a NamedTuple's fields are not described twice
napoleon_use_param = False  # else the words of "shape (images, inputs)" become links
napoleon_use_rtype = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say more: shapes
autodoc_default_options = {"members": True, "ignore-module-all": True, "exclude-members": "__new__, __init__"}

html_theme = "furo" if importlib.util.find_spec("furo") else "alabaster"
html_title = f"minicereb {version}"
html_static_path, html_css_files = ["static"], ["pages.css"]


def with_lines(app, docname, source):
    """Show the equations with lines of the code and links to its highlighted source; the file itself has links to files."""
    source[0] = table(PACKAGE, in_documentation, as_environment) if docname == "equations" else typeset(source[0])


def with_browsers(app, docname, source):
    """Add links that open the lessons in Binder and Colab, if minicereb is on GitHub."""
    if docname == "lessons/index" and app.config.repository:
        link = r"(\{nb-download\}`[^`]*<([\w-]+)\.ipynb>`)"
        source[0] = re.sub(link, lambda found: f"{found[1]}, {in_the_browser(found[2], app.config.repository)}", source[0])


# For the page MyST-NB 1.4 merges what a cell printed into the notebook's own first output, and then stores that notebook with the
# other outputs still in it: everything twice. Given copies, it leaves the notebook as it was.
_merged = render.coalesce_streams
render.coalesce_streams = lambda outputs: _merged(copy.deepcopy(outputs))


def with_slides(app, env):
    """Make slides of the lessons that have been executed now."""
    lessons = sorted(path.stem for path in HERE.glob("lessons/[0-9]*.md"))
    for number, lesson in enumerate(lessons, 1):
        executed = Path(env.mystnb_config.output_folder) / "lessons" / f"{lesson}.ipynb"
        if app.builder.name == "html" and executed.is_file() and TO_RUN not in executed.read_text(encoding="utf-8"):
            slides.write(executed, Path(app.outdir) / "lessons" / f"{lesson}-slides.html", number, len(lessons))


def with_clean_notebooks(app, env):
    """Make the executed lessons notebooks that can be read and run by themselves, before they are copied for download."""
    rewrite(env.mystnb_config.output_folder, app.config.html_baseurl, app.config.repository)


def with_charts_named(app, doctree, docname):
    """Give the lessons' figures that are lines on white paper a class, by which a dark page turns them over."""
    for image in doctree.findall(nodes.image) if docname.startswith("lessons/") else ():
        path = Path(app.srcdir, image["uri"].lstrip("/"))
        drawing = path.read_text(encoding="utf-8") if path.suffix == ".svg" and path.exists() else "<image"
        if "<image" not in drawing and "prefers-color-scheme" not in drawing:
            image["classes"].append("chart")


def with_page_to_explore(app, error):
    """Write the page of attacks that the front page links to, and the one that follows an image."""
    if error is None and app.builder.name == "html":
        explore_page.write(Path(app.outdir) / "explore.html")
        explore_page.write_one_image(Path(app.outdir) / "one-image.html")


def skip_field_alias(app, what, name, member, skip, options):
    """Leave out the fields of a NamedTuple: its own docstring describes them."""
    return True if type(member).__name__ == "_tuplegetter" else None


def prepare_docstring(app, what, name, member, options, lines):
    """Keep what a docstring says from being taken for markup: |x| for a substitution, "This: that" in a property for its type."""
    lines[:] = [re.sub(r"(``.*?``)|\|", lambda found: found[1] or r"\|", line) for line in lines]
    if what == "property":
        lines.insert(0, r"\ ")  # an escaped space: nothing, on the line that napoleon looks at


def setup(app):
    """Connect the hooks; Sphinx calls this."""
    app.add_config_value("repository", "", "env", [str])
    app.connect("source-read", with_lines)
    app.connect("source-read", with_browsers)
    app.connect("env-updated", with_slides)
    app.connect("env-updated", with_clean_notebooks, priority=600)  # afterwards: slides need what it takes out
    app.connect("doctree-resolved", with_charts_named)
    app.connect("build-finished", with_page_to_explore)
    app.connect("autodoc-skip-member", skip_field_alias)
    app.connect("autodoc-process-docstring", prepare_docstring, priority=400)  # before napoleon, which has 500
