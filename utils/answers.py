"""What infer.py does around the chapter's steps: its command line, which model answers, and what is printed."""
import json
import os
from pathlib import Path

from utils.errors import Parser, UserError, above_zero, complain, name, say, shown
from utils.image_file import find, pictures_of

TRAINED = "image_classification_*.inference.model/description.json"  # where train.py saves by default
FACTS = ("model", "depth", "dataset", "epochs", "test_accuracy")  # of the description, in the JSON that is printed


def parse(arguments):
    """Read the command line of infer.py. Errors: UserError for a mistake."""
    parser = Parser(prog="infer.py", description="Name pictures with a trained model.", allow_abbrev=False)
    add = parser.add_argument
    add("pictures", nargs="+", type=name, metavar="PICTURE",
        help="a picture file, or a folder of them; the chapter's own in image/ by their names alone")
    add("--model-dir", type=name, help="a folder that train.py wrote (default: the newest one here)")
    add("--device", choices=("auto", "cpu", "gpu"), default="auto")
    add("--top-k", type=above_zero(int), default=3, metavar="K", help="how many classes to name (default: 3)")
    add("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    options.pictures = [picture for each in options.pictures for picture in pictures_of(each)]
    return options


def choose_model(model_dir, shipped):
    """The model's folder: `model_dir`, without it the newest trained here, else `shipped`, the supplied model's."""
    if model_dir is None:
        return max(Path().glob(TRAINED), key=os.path.getmtime, default=shipped / "description.json").parent
    if os.path.isfile(model_dir):
        raise UserError(f"--model-dir {shown(model_dir)} is a file: name the folder that it is in")
    return Path(model_dir)


def read_all(names, load_image, program="infer.py"):
    """Read the pictures -> pixels, and errors of those that cannot be read; both by number on the command line."""
    images, errors = {}, {}
    for number, picture in enumerate(names):
        try:
            images[number] = load_image(picture)
        except UserError as error:
            complain(program, error)
            errors[number] = error
    return images, errors


def introduce(model_dir, description, shipped):
    """One line: which model answers, and what it was trained on. `shipped`: the supplied one's folder."""
    whole, here, depth = Path(os.path.abspath(model_dir)), Path.cwd(), description.get("depth")
    folder = whole.relative_to(here) if here in whole.parents else model_dir
    line = f"{shown(folder)}, {description['model']}{f'-{depth}' if depth else ''} trained on {description['dataset']}"
    line += " (drawings that the program made, not photographs)" * (description["dataset"] == "sketches")
    if description.get("test_accuracy") is not None:
        line += f", test accuracy {description['test_accuracy']:.4f}"
    return line + "; supplied, python train.py trains your own" * (model_dir == shipped)


def show(options, labels, errors, description, place, model_dir, shipped):
    """Print the answers: one JSON object, or as the book does, and nothing without any.

    labels, errors: by number on the command line; of labels pairs (class, probability), best first
    place: a line about where the model ran; description, model_dir, shipped: as `introduce` takes them
    """
    if options.json:
        results = [_as_json(picture, labels.get(number), errors.get(number))
                   for number, picture in enumerate(options.pictures)]
        say(json.dumps({"model": {key: description.get(key) for key in FACTS}, "results": results}, indent=2))
    elif labels:
        lines = [f"Model: {introduce(model_dir, description, shipped)}", f"Place: {place}"]
        supplied = [picture for picture in dict.fromkeys(options.pictures) if find(picture) != picture]
        lines += [f"Not found here, so the chapter's own picture: {', '.join(supplied)}"] if supplied else []
        width = max([11, *(len(kind) for best in labels.values() for kind, _ in best)])
        for number, best in labels.items():
            lines += ["", shown(options.pictures[number])] if len(options.pictures) > 1 else []
            lines += [f"infer results: {best[0][0]}", *(f"  {kind:<{width}} {share:.4f}" for kind, share in best)]
        say("\n".join(lines))


def _as_json(picture, best, error):
    """One picture's best classes, or its error; with its file where that is one of the chapter's own."""
    if error is not None:
        return {"picture": picture, "error": str(error)}
    file = {"file": str(find(picture))} if find(picture) != picture else {}
    best = [{"class": kind, "probability": round(share, 6)} for kind, share in best]
    return {"picture": picture, **file, "label": best[0]["class"], "best": best}
