"""What a reader sees of training afterwards: how long it took, and the curves as a picture."""
import numpy as np

from utils.storage.files import whole_file

POINT = 10  # batches that one point of the cost curve is the mean of


def duration(seconds):
    """Seconds as a reader says them: '48 s', '12 min', '1 h 52 min'."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def record(progress, passes, cost, accuracy):
    """Keep what the curves are drawn from: a point for each `POINT` batches."""
    progress["window"].append((cost, accuracy))
    if len(progress["window"]) == POINT:
        mean_cost, mean_accuracy = np.mean(progress["window"], axis=0)
        progress["history"]["points"].append((round(passes, 4), float(mean_cost), float(mean_accuracy)))
        progress["window"] = []


def draw(path, history, title):
    """Draw cost (left) and classification error (right) over passes into a PNG, written whole.

    history: {"points": [[pass, cost, accuracy], ...], "tests": [[pass, loss, accuracy], ...]}, passes as fractions.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no display, no global state
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    cost, error = figure.subplots(1, 2)
    panels = ((cost, "cost (cross entropy)", lambda row: row[1]), (error, "error (%)", lambda row: 100 * (1 - row[2])))
    for axes, label, value in panels:
        for name, color, style in (("points", "#4c78a8", {}), ("tests", "#e45756", {"marker": "o"})):
            rows = history[name]
            axes.plot([row[0] for row in rows], [value(row) for row in rows], color=color, linewidth=1.6,
                      label={"points": "training", "tests": "test"}[name], **style)
        axes.set_xlabel("pass")
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    figure.suptitle(title, fontsize=11)
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})
