"""Sphinx: how the pages that `medsr_workbook.site` writes become HTML. No page asks anything of another host."""

import re

project = "medsr"
html_title = "medsr: super-resolution of medical scans"
language = "en"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
viewcode_follow_imported_members = False
html_theme = "furo"
html_static_path = ["site"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
add_module_names = False
default_role = "code"  # `x` in a docstring is what it is in Markdown


def setup(app):
    """Sphinx calls this first."""
    app.connect("autodoc-process-docstring", as_markup)


def as_markup(app, what, name, thing, options, lines):
    """A docstring of ours is plain text with `code`, headings over a line, and lists of NAME : meaning."""
    text = "\n".join(lines)
    text = re.sub(r"(`[^`]+`)(?=[\w^])", r"\1\\ ", text)
    text = re.sub(r"(`[^`]+`)|[*|]|_\b(?!\w)|(?<=\w)_(?!\w)", lambda found: found[1] or "\\" + found[0], text)
    text = re.sub(r"^(\w+)\n-{3,}$", r".. rubric:: \1\n", text, flags=re.M)
    text = re.sub(r"^(\S[^:\n]*) : (.*(?:\n +\S.*)*)", item, text, flags=re.M)
    lines[:] = text.splitlines()


def item(found):
    """An entry of a list."""
    return f"\n* **{found[1]}**: " + re.sub(r"\n +", "\n  ", found[2]) + "\n"
