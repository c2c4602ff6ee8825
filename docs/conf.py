"""Sphinx: guides and results in Markdown (MyST), and the API from the docstrings."""

import re
from pathlib import Path


REPOSITORY = Path(__file__).resolve().parent.parent

project = "modeling_asm"
author = "The modeling_asm authors"
html_theme = "furo"
html_title = "modeling_asm"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["build"]
autodoc_default_options = {"members": True, "member-order": "bysource", "show-inheritance": False}
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_use_rtype = False
add_module_names = False


def link_names(app, what, name, obj, options, lines: list[str]):
    """Turn the docstrings' Markdown, as transformers writes it, into reStructuredText."""
    text = "\n".join(lines)
    text = re.sub(r"```(?:python)?\n(.*?)```", lambda code: _indent(code[1]), text, flags=re.DOTALL)
    text = re.sub(r"\[`([\w.]+)`\]", r"``\1``", text)
    text = re.sub(r"(?<!`)`([^`\n]+)`(?!`)", r"``\1``", text)
    text = re.sub(r"((?:^ *\|.*\|$\n?)+)", lambda table: _indent(table[1]), text, flags=re.MULTILINE)
    lines[:] = text.split("\n")


def _indent(code: str) -> str:
    """Return a literal block."""
    return "\n::\n\n" + "\n".join(f"    {line}".rstrip() for line in code.strip("\n").split("\n")) + "\n\n"


def setup(app):
    app.connect("autodoc-process-docstring", link_names, priority=400)  # before napoleon
