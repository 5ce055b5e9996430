"""How fast training and testing are on more and more cores, compared with PyTorch: the figure of book/running.md."""
import json
from pathlib import Path

from book.figures.parts import KINDS, LINE, QUIET, card, chart, write

MEASURED = Path(__file__).with_name("scaling.json")
PANELS = (("train", "training", 62), ("test", "testing", 470))


def scaling():
    """Speed over PyTorch's on 2 to 16 cores, with a worker for each."""
    figure, axes = card(370)
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))
    places, edge, other = range(len(measured["cores"])), KINDS["conv"][1], KINDS["pool"][1]
    write(axes, 24, 26, "ResNet-32, batch 128: speed in multiples of PyTorch's, and images a second", size=15,
          align="left", bold=True)
    for key, name, left in PANELS:
        numbers, plot = measured[key], chart(figure, left, 92, 318, 200)
        plot.axhline(1, color=other, linewidth=LINE * 1.4, linestyle=(0, (4, 2.5)))
        plot.vlines(places, numbers["from"], numbers["to"], color=edge, linewidth=LINE)
        plot.plot(places, numbers["over"], color=edge, linewidth=LINE * 1.6, marker="o", markersize=5)
        plot.set_xticks(places, [f"{count} cores" for count in measured["cores"]])
        plot.set_yticks([0, 0.5, 1, 1.5, 2])
        plot.set_ylim(0, 2.2)
        plot.set_xlim(-0.3, len(places) - 0.7)
        write(axes, left, 68, name, size=14, align="left", color=QUIET)
        write(plot, 2.2, 0.94, "PyTorch", size=14, align="left", bold=True, color=other, rows="top")
        for place, speed in zip(places, numbers["speed"]):
            write(axes, left + 318 * (place + 0.3) / (len(places) - 0.4), 332, f"{speed:,}/s", size=14, bold=True,
                  color=edge)
    return figure
