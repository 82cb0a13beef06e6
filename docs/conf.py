"""How the documentation is built: ``sphinx-build -W -b html docs OUT``. Needs minicereb installed, and no network.

The lessons' code is executed. Each executed lesson can be downloaded as a notebook, and has slides. ``-D html_baseurl=ADDRESS``
sets the address where the pages will be published, to which the links in notebooks then lead. ``-D repository=OWNER/NAME`` names
the repository on GitHub; lessons can then be opened in Binder and Colab.
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

# pages of modules, rewritten at every build, because a module may have been removed
shutil.rmtree(HERE / "api", ignore_errors=True)

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
# formulas without a network connection; a button that copies a block of code
extensions += ["sphinx-mathjax-offline", "sphinx_copybutton"]
exclude_patterns = ["_build", "solutions", "templates"]
templates_path = ["templates"]
autosummary_context = {  # packages have pages of their own, which list their modules
    "packages": {".".join(path.parent.relative_to(PACKAGE.parent).parts) for path in PACKAGE.rglob("__init__.py")}
}
smartquotes = False  # --json is two hyphens
myst_heading_anchors = 3
myst_enable_extensions = ["amsmath"]

os.environ[STATIC] = "1"  # figures without sliders, which do not work on pages and slides
nb_execution_mode = "force"  # run the lessons' cells at every build, so that their output comes from the current package
nb_execution_in_temp = True
nb_execution_timeout = 600  # seconds per cell; on an idle machine each takes a few seconds
nb_execution_raise_on_error = True
nb_output_stderr = "error"  # Python's warnings too
nb_code_prompt_show, nb_code_prompt_hide = "Show the code", "Hide the code"
nb_merge_streams = True  # a cell's output is shown in one piece, even if the cell printed it slowly

napoleon_google_docstring = False
napoleon_custom_sections = [("Attributes", "params_style")]  # as a list; a NamedTuple's fields are not described twice
napoleon_use_param = False  # otherwise the words of "shape (images, inputs)" become links
napoleon_use_rtype = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings are more specific: they give shapes
autodoc_default_options = {"members": True, "ignore-module-all": True, "exclude-members": "__new__, __init__"}

html_theme = "furo" if importlib.util.find_spec("furo") else "alabaster"
html_title = f"minicereb {version}"
html_static_path, html_css_files = ["static"], ["pages.css"]


MENUS: dict[str, str] = {}  # by folder


def with_lines(app, docname, source):
    """Show the equations with line numbers and links to the highlighted source; the file itself links to whole files."""
    source[0] = table(PACKAGE, in_documentation, as_environment) if docname == "equations" else typeset(source[0])


def with_browsers(app, docname, source):
    """Add links that open the lessons in Binder and Colab, if minicereb is on GitHub."""
    if docname == "lessons/index" and app.config.repository:
        link = r"(\{nb-download\}`[^`]*<([\w-]+)\.ipynb>`)"
        source[0] = re.sub(link, lambda found: f"{found[1]}, {in_the_browser(found[2], app.config.repository)}", source[0])


# For the page, MyST-NB 1.4 merges a cell's printed text into the notebook's own first output. It then stores that notebook with
# the other outputs still in it, so everything appears twice. If it is given copies, the notebook is unchanged.
_merged = render.coalesce_streams
render.coalesce_streams = lambda outputs: _merged(copy.deepcopy(outputs))


def with_slides(app, env):
    """Make slides of the lessons that were executed in this build."""
    lessons = sorted(path.stem for path in HERE.glob("lessons/[0-9]*.md"))
    for number, lesson in enumerate(lessons, 1):
        executed = Path(env.mystnb_config.output_folder) / "lessons" / f"{lesson}.ipynb"
        if app.builder.name == "html" and executed.is_file() and TO_RUN not in executed.read_text(encoding="utf-8"):
            slides.write(executed, Path(app.outdir) / "lessons" / f"{lesson}-slides.html", number, len(lessons))


def with_clean_notebooks(app, env):
    """Turn the executed lessons into notebooks that can be read and run on their own, before they are copied for download."""
    rewrite(env.mystnb_config.output_folder, app.config.html_baseurl, app.config.repository)


def with_charts_named(app, doctree, docname):
    """Mark the lessons' figures that are lines on white paper with a class, so that dark pages can invert them."""
    for image in doctree.findall(nodes.image) if docname.startswith("lessons/") else ():
        path = Path(app.srcdir, image["uri"].lstrip("/"))
        drawing = path.read_text(encoding="utf-8") if path.suffix == ".svg" and path.exists() else "<image"
        if "<image" not in drawing and "prefers-color-scheme" not in drawing:
            image["classes"].append("chart")


def with_menus_made_once(app, pagename, templatename, context, doctree):
    """Give highlighted sources in one folder the same menu: none of them is listed in it, and each menu takes long to make."""
    if pagename.startswith("_modules/"):
        make, folder = context["toctree"], pagename.rpartition("/")[0]
        context["toctree"] = lambda **options: MENUS.get(folder) or MENUS.setdefault(folder, make(**options))


def with_page_to_explore(app, error):
    """Write the page of attacks that the front page links to, and the page that follows an image through a model."""
    if error is None and app.builder.name == "html":
        explore_page.write(Path(app.outdir) / "explore.html")
        explore_page.write_one_image(Path(app.outdir) / "one-image.html")


def skip_field_alias(app, what, name, member, skip, options):
    """Leave out the fields of a NamedTuple: its own docstring describes them."""
    return True if type(member).__name__ == "_tuplegetter" else None


def prepare_docstring(app, what, name, member, options, lines):
    """Prevent parts of a docstring from being read as markup: |x| as a substitution, "This: that" in a property as its type."""
    lines[:] = [re.sub(r"(``.*?``)|\|", lambda found: found[1] or r"\|", line) for line in lines]
    if what == "property":
        lines.insert(0, r"\ ")  # an escaped space, which shows nothing, on the line that napoleon reads


def setup(app):
    """Connect the hooks; Sphinx calls this."""
    app.add_config_value("repository", "", "env", [str])
    app.connect("source-read", with_lines)
    app.connect("source-read", with_browsers)
    app.connect("env-updated", with_slides)
    app.connect("env-updated", with_clean_notebooks, priority=600)  # last, because slides need what it removes
    app.connect("doctree-resolved", with_charts_named)
    app.connect("html-page-context", with_menus_made_once, priority=400)  # before the theme, which has 500
    app.connect("build-finished", with_page_to_explore)
    app.connect("autodoc-skip-member", skip_field_alias)
    app.connect("autodoc-process-docstring", prepare_docstring, priority=400)  # before napoleon, which has 500
