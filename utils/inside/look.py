"""What infer.py writes besides its answers: features into an .npz, a drawing of heat maps into a .png."""
import importlib.util
import os

import numpy as np

from utils.errors import UserError, shown
from utils.inside.drawing import draw, is_drawing
from utils.inside.features import features_of
from utils.inside.grad_cam import grad_cam
from utils.storage.files import whole_file

MOST_DRAWN = 50  # rows of the drawing


def write(features_path, drawing_path, model, names, pixels, probabilities):
    """Write the features and the drawing of some pictures; a path is None for a file that is not asked for.

    model: infer.Model; names: the pictures'; pixels: [N, 3, 32, 32]; probabilities: [N, classes]
    Errors: UserError where the model has no such layers, or a file cannot be written.
    """
    classes = model.description["classes"]
    order = np.argsort(-probabilities, axis=1, kind="stable")
    features = features_of(model, pixels) if features_path else None
    heats = grad_cam(model, pixels, order[:, :2]) if drawing_path else None
    if features_path:
        with whole_file(features_path) as temporary, open(temporary, "wb") as file:
            np.savez(file, features=features, pictures=np.array(names), probabilities=probabilities,
                     labels=np.array([classes[best] for best in order[:, 0]]), classes=np.array(classes))
    if drawing_path:
        best = [[(classes[i], row[i]) for i in two] for row, two in zip(probabilities, order[:, :2])]
        with whole_file(drawing_path) as temporary:
            draw(temporary, [shown(name) for name in names], pixels, heats, best)


def check(features_path, drawing_path, count):
    """Refuse, before any work, to write over another file, or to draw too much.

    count: how many pictures there are. Errors: UserError.
    """
    for option, path, ending in (("--features", features_path, ".npz"), ("--explain", drawing_path, ".png")):
        if path is None:
            continue
        if not path.lower().endswith(ending):
            raise UserError(f"{option} {shown(path)}: its name has to end with {ending}")
        if os.path.lexists(path) and not os.path.isfile(path):
            raise UserError(f"{option} {shown(path)} is no ordinary file: name another")
    if drawing_path is None:
        return
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError("--explain draws with matplotlib, which is not installed: pip install -r requirements.txt")
    if os.path.isfile(drawing_path) and not is_drawing(drawing_path):
        raise UserError(f"--explain {shown(drawing_path)} is there already and was not drawn by --explain: name "
                        "another file for the drawing, then the pictures")
    if count > MOST_DRAWN:
        raise UserError(f"--explain draws {MOST_DRAWN} pictures at most, not {count}: name fewer at a time")
