"""The ratios as a picture: left of the line is cheaper, or right of it faster, than a peer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullFormatter

from benchmarks.harness.figures import Ratio, Sample
from benchmarks.harness.report import ratios

#: Figures worth a picture, with the color of their bars.
SHOWN = {"tasks/s": "#2a7f62", "total µs": "#30508c", "start p50 ms": "#8c6d30"}


def draw(path: Path, samples: Sequence[Sample]) -> bool:
    """Draw ours / peer for the main figures on a logarithmic axis.

    Returns:
        False, and no file, if no line has both ours and a peer.
    """
    mpl.use("agg")
    from matplotlib import pyplot as plt

    rows = [row for row in ratios(samples) if row[3] in SHOWN]
    if not rows:
        return False
    figure, axes = plt.subplots(figsize=(11, 1.2 + 0.32 * len(rows)), layout="constrained")
    for place, (_, _, _, name, ratio) in enumerate(rows):
        axes.barh(place, ratio.median - 1, left=1, color=SHOWN[name], height=0.7)
        axes.plot([ratio.low, ratio.high], [place, place], color="black", linewidth=1)
        axes.annotate(f" {ratio.median:.2f}", (_label_end(ratio), place), va="center", fontsize=8)
    axes.set_xscale("log")
    axes.margins(x=0.1)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.axvline(1, color="black", linewidth=0.8)
    labels = [f"{q}: {line} | {mine} / {peer}" for (q, line), mine, peer, _, _ in rows]
    axes.set_yticks(range(len(rows)), labels, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("ours / peer, median and range of pairs (log scale); 1 = equal")
    handles = [Patch(color=color) for color in SHOWN.values()]
    names = ["tasks/s (more is better)", "CPU per task (less)", "start p50 (less)"]
    figure.legend(handles, names, fontsize=8, loc="outside upper right", ncols=len(names))
    figure.savefig(path)
    plt.close(figure)
    return True


def _label_end(ratio: Ratio) -> float:
    return max(ratio.high, 1.0)
