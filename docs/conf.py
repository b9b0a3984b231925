"""How Sphinx builds these pages: Markdown, diagrams, and the docstrings of the library."""

from __future__ import annotations

from cifra_jobs import __version__

project = "cifra_jobs"
author = "the cifra_jobs authors"
copyright = f"2026, {author}"  # noqa: A001 - Sphinx reads this name
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
    "sphinxcontrib.mermaid",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"cifra_jobs {version}"
autodoc_typehints = "description"
myst_enable_extensions = ["colon_fence", "deflist"]
# The same fence that GitHub draws.
myst_fence_as_directive = ["mermaid"]
myst_heading_anchors = 3
# Links that lead out of docs/ (to deploy/, examples/) are right on GitHub and unknown here;
# tests/unit/test_documentation.py follows every link.
suppress_warnings = ["myst.xref_missing"]
