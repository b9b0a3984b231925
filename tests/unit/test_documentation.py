"""Links lead somewhere, and the Python in the how-to guides can be imported."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from cifra_jobs import App

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
LONGEST_DECISION = 60


def pages() -> list[Path]:
    """Every page of the checkout, none of what tools leave behind."""
    found = [*ROOT.glob("*.md")]
    for folder in ("benchmarks", "deploy", "docs", "examples", "rabbitmq", "workers", "tests"):
        found += (ROOT / folder).rglob("*.md")
    return sorted(page for page in found if "_build" not in page.parts)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and myst spell them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.replace("`", "")).lower() for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in kept}


def broken(page: Path) -> Iterator[str]:
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if "://" in link or link.startswith("mailto:"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        is_page = target.exists() and target.suffix == ".md"
        if not target.exists() or (anchor and is_page and anchor not in anchors(target)):
            yield link


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    assert not list(broken(page))


def blocks() -> Iterator[object]:
    for page in sorted((ROOT / "docs" / "howto").glob("*.md")):
        for number, code in enumerate(CODE.findall(page.read_text())):
            yield pytest.param(code, id=f"{page.stem}-{number}")


@pytest.mark.parametrize("code", list(blocks()))
def test_the_python_of_a_guide_runs(code: str, idle_jobs_app: App) -> None:
    middleware = list(idle_jobs_app.broker.middleware)
    # Tasks of other tests may have the names that a guide gives; the fixture brings them back.
    idle_jobs_app.broker.actors.clear()
    scope: dict[str, object] = {
        "__name__": "guide",
        # Names of the reader's own that a guide leaves to the imagination.
        **{name: type(name, (Exception,), {}) for name in ("Greylisted", "UnknownMailbox")},
    }
    try:
        with warnings.catch_warnings():
            exec(compile(code, "<guide>", "exec"), scope)  # noqa: S102 - our own pages
    finally:
        idle_jobs_app.broker.middleware[:] = middleware


def test_a_decision_fits_on_a_page_and_says_how_it_would_be_wrong() -> None:
    wanted = ("## Context", "## Decision", "## Consequences", "## How we would know we were wrong")
    for page in (ROOT / "docs" / "decisions").glob("[0-9]*.md"):
        text = page.read_text()
        assert [each for each in wanted if each not in text] == [], page.name
        assert len(text.splitlines()) <= LONGEST_DECISION, page.name


def test_every_page_is_in_the_contents() -> None:
    docs = ROOT / "docs"
    contents = (docs / "index.md").read_text()
    missing = [
        str(page.relative_to(docs).with_suffix(""))
        for page in docs.rglob("*.md")
        if "_build" not in page.parts and page.name != "index.md"
    ]
    assert [name for name in missing if name not in contents] == []
