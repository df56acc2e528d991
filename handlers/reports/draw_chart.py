"""The program that draws a report: `python -m handlers.reports.draw_chart < JSON > PNG`; see `chart.py`."""

from __future__ import annotations

import json
import sys
from io import BytesIO
from typing import Any

from matplotlib.figure import Figure

MOST_TICKS = 12
"""Labels below the bars of a chart at most, so that they can be read on a phone."""

DARK, GREEN = "#111111", "#2f6f4e"


def draw_png(title: str, charts: list[dict[str, Any]]) -> bytes:
    """A PNG of the charts, one below the other, with the title above."""
    figure = Figure(figsize=(7.2, 0.8 + 3.6 * len(charts)), dpi=150, layout="constrained")
    figure.suptitle(title, fontsize=15, color=DARK, parse_math=False)
    for axes, chart in zip(figure.subplots(len(charts), squeeze=False)[:, 0], charts, strict=True):
        labels, values = chart["labels"], [float(value) for value in chart["values"]]
        axes.bar(range(len(values)), values, color=GREEN)
        ticks = range(0, len(labels), -(-len(labels) // MOST_TICKS))
        axes.set_xticks(list(ticks), [labels[tick] for tick in ticks])
        axes.tick_params(labelsize=12, colors=DARK)
        axes.set_title(chart["title"], fontsize=13, color=DARK, loc="left", parse_math=False)
        axes.spines[["top", "right"]].set_visible(False)
    picture = BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


if __name__ == "__main__":
    order = json.load(sys.stdin)
    sys.stdout.buffer.write(draw_png(order["title"], order["charts"]))
