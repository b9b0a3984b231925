"""The monthly sales report as a PDF: a page of charts, and a page of the figures behind them.

Only matplotlib is used, and of it only what shares no state between drawings.
"""

from __future__ import annotations

import logging
from calendar import month_name
from typing import TYPE_CHECKING

from matplotlib import rcParams
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure as Page
from matplotlib.patches import FancyBboxPatch, Rectangle
from matplotlib.ticker import FuncFormatter

from workers.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date
    from pathlib import Path

    from matplotlib.axes import Axes

    from workers.sales import Figure, MonthlySales

_A4 = (8.27, 11.69)
_INK, _MUTED, _FAINT = "#1b2a41", "#6b7a90", "#e6eaf0"
_ACCENT, _HIGHLIGHT = "#2f6fb3", "#e08e2b"
_LEFT, _RIGHT = 0.08, 0.92
_SATURDAY = 5
#: Text stays text in the PDF (searchable), in the font that comes with matplotlib.
# Embedding a font tells a dozen lines about its tables, at the level of news.
logging.getLogger("fontTools").setLevel(logging.WARNING)
rcParams.update(
    {"pdf.fonttype": 42, "font.family": "DejaVu Sans", "font.size": 8.5, "text.color": _INK}
)


def write_report(sales: MonthlySales, path: Path) -> None:
    """Draw the report; the same figures give the same file, byte by byte."""
    title = f"{month_name[sales.first_day.month]} {sales.first_day.year}"
    # Without a creation date a repeated run gives the same file.
    metadata = {"Title": f"Sales report {title}", "Author": "Cifra", "CreationDate": None}
    with write_atomically(path) as file, PdfPages(file, metadata=metadata) as pdf:
        pdf.savefig(_chart_page(sales, title))
        pdf.savefig(_table_page(sales, title))


def _chart_page(sales: MonthlySales, title: str) -> Page:
    page = _new_page(title, 1)
    _draw_tiles(page, _key_figures(sales))
    _caption(page, 0.715, "Turnover per day", "Weekends lighter, best day in orange")
    _draw_days(page.add_axes((_LEFT + 0.03, 0.47, _RIGHT - _LEFT - 0.03, 0.215)), sales)
    _caption(page, 0.405, "Turnover per category", "Share of the month in brackets")
    height = min(0.28, 0.05 * max(len(sales.by_category), 1))
    box = (_LEFT + 0.14, 0.375 - height, _RIGHT - _LEFT - 0.14, height)
    _draw_categories(page.add_axes(box), sales)
    return page


def _table_page(sales: MonthlySales, title: str) -> Page:
    page = _new_page(title, 2)
    total = sales.total.cents
    _caption(page, 0.855, "Categories", "")
    head = ("Category", "Sales", "Turnover", "Average", "Share")
    rows = [(*_row(name, figure), _share(figure, total)) for name, figure in _categories(sales)]
    rows.append((*_row("Total", sales.total), _share(sales.total, total)))
    bottom = _draw_table(page, (_LEFT, 0.825, _RIGHT), head, rows, bold_last=True)
    _caption(page, bottom - 0.05, "Days", "")
    days = [_row(f"{day:%a %d}", figure) for day, figure in sales.by_day.items()]
    half = (len(days) + 1) // 2
    top = bottom - 0.08
    day_head = ("Day", "Sales", "Turnover", "Average")
    _draw_table(page, (_LEFT, top, 0.48), day_head, days[:half])
    _draw_table(page, (0.52, top, _RIGHT), day_head, days[half:])
    return page


def _new_page(title: str, number: int) -> Page:
    page = Page(figsize=_A4, facecolor="white")
    page.add_artist(Rectangle((0, 0.905), 1, 0.095, color=_INK, transform=page.transFigure))
    page.text(_LEFT, 0.955, "Sales report", color="white", size=20, weight="bold", va="center")
    page.text(_LEFT, 0.926, title, color="#c6d3e6", size=11.5, va="center")
    page.text(_LEFT, 0.03, "Amounts in euro, days in UTC", color=_MUTED, size=7.5)
    page.text(_RIGHT, 0.03, f"Page {number} of 2", color=_MUTED, size=7.5, ha="right")
    return page


def _caption(page: Page, y: float, text: str, remark: str) -> None:
    page.text(_LEFT, y, text, size=12, weight="bold")
    page.text(_RIGHT, y, remark, size=8, color=_MUTED, ha="right")


def _key_figures(sales: MonthlySales) -> list[tuple[str, str, str]]:
    total = sales.total
    average = total.cents / total.count if total.count else 0
    best = sales.best_day
    return [
        ("Turnover", _euro(total.cents), _change(sales)),
        ("Sales", f"{total.count:,}", f"{total.count / len(sales.by_day):,.1f} a day"),
        ("Average sale", f"€ {average / 100:,.2f}", ""),
        ("Best day", f"{best:%a %d %b}" if total.count else "-", _euro(sales.by_day[best].cents)),
    ]


def _change(sales: MonthlySales) -> str:
    before = month_name[(sales.first_day.month - 2) % 12 + 1]
    if not sales.previous_cents:
        return f"no sales in {before}"
    return f"{sales.total.cents / sales.previous_cents - 1:+.1%} on {before}"


def _draw_tiles(page: Page, figures: Sequence[tuple[str, str, str]]) -> None:
    gap = 0.02
    width = (_RIGHT - _LEFT - gap * (len(figures) - 1)) / len(figures)
    for index, (label, value, remark) in enumerate(figures):
        x = _LEFT + index * (width + gap)
        tile = FancyBboxPatch(
            (x + 0.006, 0.776),
            width - 0.012,
            0.088,
            boxstyle="round,pad=0.006",
            facecolor="#f4f6f9",
            edgecolor=_FAINT,
            transform=page.transFigure,
        )
        page.add_artist(tile)
        page.text(x + 0.016, 0.846, label, color=_MUTED, size=8.5)
        page.text(x + 0.016, 0.812, value, size=14.5, weight="bold")
        page.text(x + 0.016, 0.786, remark, color=_MUTED, size=7)


def _draw_days(axes: Axes, sales: MonthlySales) -> None:
    days = list(sales.by_day)
    heights = [sales.by_day[day].cents / 100 for day in days]
    axes.bar(
        [day.day for day in days], heights, width=0.72, color=[_day_color(sales, d) for d in days]
    )
    axes.set_xlim(0.3, len(days) + 0.7)
    axes.set_ylim(0, max(heights) * 1.05 or 1)
    axes.set_xticks([day.day for day in days])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"€ {value:,.0f}"))
    axes.grid(axis="y", color=_FAINT)
    _clean(axes)


def _day_color(sales: MonthlySales, day: date) -> str:
    if day == sales.best_day and sales.by_day[day].cents:
        return _HIGHLIGHT
    return "#9dbfe0" if day.weekday() >= _SATURDAY else _ACCENT


def _draw_categories(axes: Axes, sales: MonthlySales) -> None:
    figures = dict(reversed(_categories(sales)))
    widths = [figure.cents / 100 for figure in figures.values()]
    bars = axes.barh(list(figures), widths, height=0.62, color=_ACCENT)
    total = sales.total.cents
    labels = [f"{_euro(f.cents)}  ({_share(f, total)})" for f in figures.values()]
    axes.bar_label(bars, labels=labels, padding=5, color=_MUTED)
    axes.set_xlim(0, max(widths, default=1) * 1.28 or 1)
    _clean(axes)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    if not figures:
        axes.set_yticks([])
        axes.text(0, 0.5, "No sales in this month", color=_MUTED, transform=axes.transAxes)


def _clean(axes: Axes) -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_MUTED)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=_INK, labelsize=7.5)


def _draw_table(
    page: Page,
    place: tuple[float, float, float],
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    bold_last: bool = False,
) -> float:
    left, y, right = place
    step = 0.0235
    # The first column names the row, the others hold figures and end flush right.
    first = (right - left) * 0.24
    width = (right - left - first) / (len(head) - 1)
    ends = [left, *(left + first + width * n for n in range(1, len(head)))]
    _write_row(page, y, ends, head, color=_MUTED, weight="bold")
    for index, row in enumerate(rows):
        _draw_line(page, left, right, y - 0.008)
        y -= step
        is_bold = bold_last and index == len(rows) - 1
        _write_row(page, y, ends, row, color=_INK, weight="bold" if is_bold else "normal")
    return y


def _write_row(
    page: Page, y: float, ends: Sequence[float], cells: Iterable[str], *, color: str, weight: str
) -> None:
    for index, (x, cell) in enumerate(zip(ends, cells, strict=True)):
        page.text(x, y, cell, ha="right" if index else "left", color=color, weight=weight)


def _draw_line(page: Page, left: float, right: float, y: float) -> None:
    line = Rectangle((left, y), right - left, 0.0007, color=_FAINT, transform=page.transFigure)
    page.add_artist(line)


def _categories(sales: MonthlySales) -> list[tuple[str, Figure]]:
    return list(sales.by_category.items())


def _row(name: str, figure: Figure) -> tuple[str, str, str, str]:
    average = f"€ {figure.cents / figure.count / 100:,.2f}" if figure.count else "-"
    return name, f"{figure.count:,}", _euro(figure.cents), average


def _share(figure: Figure, total_cents: int) -> str:
    return f"{figure.cents / total_cents:.1%}" if total_cents else "-"


def _euro(cents: int) -> str:
    return f"€ {cents / 100:,.0f}"
