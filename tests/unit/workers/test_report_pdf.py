from __future__ import annotations

import re
from datetime import date, timedelta
from pathlib import Path

from workers.report_pdf import write_report
from workers.sales import Figure, MonthlySales


def month(cents: int) -> MonthlySales:
    first = date(2025, 12, 1)
    days = {first + timedelta(days=n): Figure(cents * n, n) for n in range(31)}
    total = sum(figure.cents for figure in days.values())
    return MonthlySales(
        first_day=first,
        by_category={"Игрушки": Figure(total, 465)} if cents else {},
        by_day=days,
        previous_cents=total // 2,
    )


def test_a_report_is_a_pdf_of_two_pages_with_a_title(tmp_path: Path) -> None:
    write_report(month(1234), tmp_path / "reports" / "report.pdf")

    content = (tmp_path / "reports" / "report.pdf").read_bytes()
    assert content.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type /Page\b", content)) == 2
    assert b"Sales report December 2025" in content


def test_the_same_figures_give_the_same_file(tmp_path: Path) -> None:
    write_report(month(1234), tmp_path / "one.pdf")
    write_report(month(1234), tmp_path / "two.pdf")

    assert (tmp_path / "one.pdf").read_bytes() == (tmp_path / "two.pdf").read_bytes()


def test_a_month_without_sales_has_a_report_too(tmp_path: Path) -> None:
    write_report(month(0), tmp_path / "empty.pdf")

    assert (tmp_path / "empty.pdf").read_bytes().startswith(b"%PDF-")
