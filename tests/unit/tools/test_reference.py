"""The reference pages are what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.generate_reference import PAGES, rendered

FOLDER = Path(__file__).parents[3] / "docs" / "reference"


@pytest.mark.parametrize("name", PAGES)
def test_a_reference_page_is_what_the_code_says(name: str) -> None:
    assert (FOLDER / name).read_text() == rendered(name), (
        f"docs/reference/{name} is out of date: python -m tools.generate_reference"
    )


def test_the_folder_holds_no_page_that_nobody_writes() -> None:
    assert {page.name for page in FOLDER.glob("*.md")} == set(PAGES)
