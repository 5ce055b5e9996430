"""What infer.py writes besides its answers: features into an .npz, a drawing of heat maps into a .png."""
import importlib.util
import os
from typing import NamedTuple, Optional

import numpy as np

from utils.errors import UserError, shown
from utils.inside.drawing import draw, is_drawing
from utils.inside.features import features_of
from utils.inside.grad_cam import grad_cam
from utils.storage.files import whole_file

MOST_DRAWN = 50  # rows of the drawing


class Look(NamedTuple):
    """Files to write, None for not at all, and the pictures' names."""

    features: Optional[str]
    explain: Optional[str]
    names: list

    def __call__(self, model, pixels, probabilities):
        """Look inside the loaded model with these pictures [N, 3, 32, 32] and write both files.

        Errors: UserError where the model has no such layers, or a file cannot be written.
        """
        classes = model.description["classes"]
        order = np.argsort(-probabilities, axis=1, kind="stable")
        features = features_of(model, pixels) if self.features else None
        heats = grad_cam(model, pixels, order[:, :2]) if self.explain else None
        if self.features:
            with whole_file(self.features) as temporary, open(temporary, "wb") as file:
                np.savez(file, features=features, pictures=np.array(self.names), probabilities=probabilities,
                         labels=np.array([classes[best] for best in order[:, 0]]), classes=np.array(classes))
        if self.explain:
            best = [[(classes[i], row[i]) for i in two] for row, two in zip(probabilities, order[:, :2])]
            with whole_file(self.explain) as temporary:
                draw(temporary, [shown(name) for name in self.names], pixels, heats, best)


def check(features, explain, count):
    """Refuse, before any work, to write over what is not ours, or to draw too much.

    count: how many pictures there are. Errors: UserError.
    """
    for option, path, ending in (("--features", features, ".npz"), ("--explain", explain, ".png")):
        if path is None:
            continue
        if not path.lower().endswith(ending):
            raise UserError(f"{option} {shown(path)}: its name has to end with {ending}")
        if os.path.lexists(path) and not os.path.isfile(path):
            raise UserError(f"{option} {shown(path)} is no ordinary file: name another")
    if explain is None:
        return
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError("--explain draws with matplotlib, which is not installed: pip install -r requirements.txt")
    if os.path.isfile(explain) and not is_drawing(explain):
        raise UserError(f"--explain {shown(explain)} is there already and was not drawn by --explain: name another "
                        "file for the drawing, then the pictures")
    if count > MOST_DRAWN:
        raise UserError(f"--explain draws {MOST_DRAWN} pictures at most, not {count}: name fewer at a time")
