"""Pictures that the program draws, written whole and replacing only their own; without matplotlib they are missing."""
import contextlib
import functools
import os
import warnings
from pathlib import Path

from utils.errors import Stopped, UserError, print_error, shown
from utils.storage.files import whole_file

POINT = 10  # batches that one point of the curves is the mean of


@contextlib.contextmanager
def picture(path, width, height, title, **options):
    """Give a figure of this size in inches to draw on; at the end of the block it is written as a PNG, whole.

    title: in the file, unseen, by which `refuse_to_replace` knows it; options: of matplotlib.figure.Figure
    Errors: UserError where it cannot be drawn or written, whatever is wrong with matplotlib.
    """
    try:
        refuse_to_replace(path, title)
        if "module://" not in os.environ.get("MPLBACKEND", ""):  # not a notebook's: matplotlib ends at unknown names
            os.environ.pop("MPLBACKEND", None)
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # no display, no global state
        from matplotlib.figure import Figure
        from matplotlib.text import Text

        figure = FigureCanvasAgg(Figure(figsize=(width, height), dpi=110, **options)).figure
        yield figure
        texts = figure.findobj(Text)
        fonts = fonts_for("".join(sorted({*"".join(text.get_text() for text in texts)})))
        for text in texts:
            text.set(family=fonts, parse_math=False)  # names may have dollars
        with warnings.catch_warnings(), whole_file(path) as temporary:
            warnings.simplefilter("ignore")  # of letters that the font lacks
            figure.savefig(temporary, format="png", metadata={"Software": None, "Title": title})
    except (UserError, Stopped, MemoryError):
        raise
    except Exception as error:
        raise UserError(f"cannot draw {shown(path)}: {shown(error)}; matplotlib comes with python -m pip install -r "
                        "requirements.txt") from error


@functools.cache
def fonts_for(letters):
    """Families of fonts that have these letters: matplotlib's own, and of the system's as many as it takes."""
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    families, own = ["DejaVu Sans"], FT2Font(font_manager.findfont("DejaVu Sans"))
    missing = {*map(ord, filter(str.isprintable, letters))} - own.get_charmap().keys()
    for path in sorted(font_manager.findSystemFonts()) if missing else ():
        with contextlib.suppress(RuntimeError, OSError):  # no font that matplotlib reads
            font = FT2Font(path)
            found = missing & font.get_charmap().keys()
            if found and font.scalable and "LastResort" not in path:  # macOS's has a box for each letter
                font_manager.fontManager.addfont(path)
                families.append(font.family_name)
                missing -= found
    if missing:
        print_error(f"pictures show boxes for {''.join(map(chr, sorted(missing)))}, which no font here has: install "
                    "one that has them, such as Noto Sans CJK")
    return families


def refuse_to_replace(path, title):
    """UserError where something is there that lacks this title near its start; what `picture` draws has it."""
    is_own = os.path.isfile(path) and title.encode() in Path(path).read_bytes()[:1000]
    if os.path.lexists(path) and not is_own:
        raise UserError(f"{shown(path)} is there already and was not written by {title}: name another file, or move it")


def draw_curves(path, history, title):
    """Draw cost (left) and classification error (right) over passes.

    history: {"points": [[pass, cost, accuracy], ...], "tests": [[pass, loss, accuracy], ...]}, passes as fractions
    """
    panels = (("cost (cross entropy)", lambda row: row[1]), ("error (%)", lambda row: 100 * (1 - row[2])))
    points = history["points"]
    means = [[sum(column) / len(column) for column in zip(*points[first:first + POINT])]
             for first in range(0, len(points), POINT)]
    lines = (("training", means, "#4c78a8", None), ("test", history["tests"], "#e45756", "o"))
    with picture(path, 9, 3.6, "train.py", layout="constrained") as figure:
        for axes, (label, value) in zip(figure.subplots(1, 2), panels):
            for name, rows, color, marker in lines:
                axes.plot([row[0] for row in rows], [value(row) for row in rows], color=color, linewidth=1.6,
                          label=name, marker=marker)
            axes.set(xlabel="pass", ylabel=label, ylim=(0, None))
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(frameon=False)
        figure.suptitle(title, fontsize=11)
