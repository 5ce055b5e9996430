"""Name pictures with a trained model: `python infer.py dog.png`."""
import argparse
import json
import sys
from pathlib import Path

from utils.speed import cpu

cpu.set_flags()  # before anything imports Paddle, which waits until there is something to run it on

import numpy as np  # noqa: E402

from utils.storage import saved_model  # noqa: E402
from utils.errors import UserError  # noqa: E402
from utils.image_file import read_picture, shown  # noqa: E402
from utils.place import choose_place  # noqa: E402

HERE = Path(__file__).resolve().parent
SHIPPED = HERE / "models" / "resnet32_cifar10"
BATCH = 128


def load_image(name):
    """Read a picture -> [1, 3, 32, 32] in [0, 1]; a bare name that is not here is looked for in image/."""
    path = Path(name)
    drawn = HERE / "image" / path.name
    if not path.exists() and path.name == name and drawn.exists():
        path = drawn
    return read_picture(path)


def infer(model, pixels):
    """Class probabilities of pictures, by a loaded model.

    pixels: [N, 3, 32, 32] in [0, 1] -> [N, 10]
    """
    import paddle

    with paddle.static.scope_guard(model.scope):
        results = model.executor.run(model.program, feed={model.feed_names[0]: pixels},
                                     fetch_list=model.fetch_targets)
    return results[0]


def label(probabilities, classes, top_k):
    """The `top_k` most likely classes of one picture, best first, as pairs (name, probability)."""
    best = np.argsort(-probabilities, kind="stable")[:top_k]
    return [(classes[i], float(probabilities[i])) for i in best]


def default_model_dir():
    """The newest model trained in this folder, else the one that comes with the program."""
    trained = [path.parent for path in Path().glob("image_classification_*.inference.model/description.json")]
    if trained:
        return max(trained, key=lambda folder: (folder / "description.json").stat().st_mtime)
    if (SHIPPED / "description.json").exists():
        return SHIPPED
    raise UserError("there is no trained model here: train one with python train.py, or name its folder with "
                    "--model-dir")


def introduce(model_dir, description):
    """One line: which model answers, and what it was trained on."""
    depth = f"-{description['depth']}" if description.get("depth") else ""
    folder = Path(model_dir).resolve()
    where = folder.relative_to(Path.cwd()) if Path.cwd() in folder.parents else model_dir
    line = f"{where}, {description['model']}{depth} trained on {description['dataset']}"
    if description["dataset"] == "sketches":
        line += " (drawings that the program made, not photographs)"
    if description.get("test_accuracy") is not None:
        line += f", test accuracy {description['test_accuracy']:.4f}"
    if Path(model_dir) == SHIPPED:
        line += "; it comes with the program, python train.py makes your own"
    return line


def read_all(names):
    """Read the pictures -> pixels by name, and error by name for those that cannot be read."""
    pixels, errors = {}, {}
    for name in names:
        try:
            pixels[name] = load_image(name)
        except UserError as error:
            complain(error)
            errors[name] = str(error)
    return pixels, errors


def answer(model_dir, device, pixels):
    """Load the model and run it on the pictures.

    pixels: [N, 3, 32, 32] -> probabilities [N, classes], the model's description, a line about the place
    """
    place, sentence = choose_place(device)
    model = saved_model.load(model_dir, place)
    batches = [infer(model, pixels[i:i + BATCH]) for i in range(0, len(pixels), BATCH)]
    return np.concatenate(batches), model.description, sentence


def report(labels, opening, headed):
    """Print the answers as the book does, each under its picture's name where `headed`."""
    print(opening)
    for name, best in labels.items():
        if headed:
            print(f"\n{shown(name)}")
        print(f"infer results: {best[0][0]}")
        for class_name, probability in best:
            print(f"  {class_name:<12}{probability:.4f}")


def report_json(labels, errors, description):
    """Print one JSON object: the model, and for each picture its best classes or its error."""
    results = [{"picture": name, "label": best[0][0],
                "best": [{"class": class_name, "probability": round(p, 6)} for class_name, p in best]}
               for name, best in labels.items()]
    results += [{"picture": name, "error": error} for name, error in errors.items()]
    model = {key: description.get(key) for key in ("model", "depth", "dataset", "epochs", "test_accuracy")}
    print(json.dumps({"model": model, "results": results}, indent=2))


def complain(error):
    """Print an error as the command line does."""
    print(f"infer.py: error: {error}", file=sys.stderr, flush=True)


def parse(arguments):
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="infer.py", description="Name pictures with a trained model.")
    parser.add_argument("pictures", nargs="+", metavar="PICTURE",
                        help="a picture file; the chapter's own in image/ by their names alone")
    parser.add_argument("--model-dir", help="a folder that train.py wrote (default: the newest one here)")
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto")
    parser.add_argument("--top-k", type=int, default=3, choices=range(1, 11), metavar="K",
                        help="how many classes to name, 1 to 10 (default: 3)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args(arguments)


def main(arguments=None):
    """Answer the command line -> exit status: 0, or 2 where anything could not be answered."""
    options = parse(arguments)
    try:
        model_dir = Path(options.model_dir) if options.model_dir else default_model_dir()
        description, _ = saved_model.check(model_dir)
        pixels, errors = read_all(options.pictures)
        labels = {}
        if pixels:
            images = np.concatenate(list(pixels.values()))
            probabilities, description, place = answer(model_dir, options.device, images)
            for name, row in zip(pixels, probabilities):
                labels[name] = label(row, description["classes"], options.top_k)
    except UserError as error:
        complain(error)
        return 2
    if options.json:
        report_json(labels, errors, description)
    elif labels:
        opening = f"Model: {introduce(model_dir, description)}\nPlace: {place}"
        report(labels, opening, headed=len(options.pictures) > 1)
    return 2 if errors else 0


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # file names may hold bytes that are no letters
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
