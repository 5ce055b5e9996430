"""Name pictures with a trained model: `python infer.py dog.png`."""
import argparse
import json
import sys
import warnings
from pathlib import Path

from utils import engine

engine.prepare()  # before anything imports Paddle, which is imported only once there is something to run it on

import numpy as np  # noqa: E402

from utils import saved_model  # noqa: E402
from utils.errors import UserError  # noqa: E402
from utils.picture import read_picture, shown  # noqa: E402

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
    line = f"{model_dir}, {description['model']}{depth} trained on {description['dataset']}"
    if description["dataset"] == "sketches":
        line += " (drawings that the program made, not photographs)"
    if description.get("test_accuracy") is not None:
        line += f", test accuracy {description['test_accuracy']:.4f}"
    if Path(model_dir) == SHIPPED:
        line += "; it comes with the program, python train.py makes your own"
    return line


def read_all(names):
    """Read the pictures -> pairs (name, pixels or the UserError that says why there are none)."""
    read = []
    for name in names:
        try:
            read.append((name, load_image(name)))
        except UserError as error:
            complain(error)
            read.append((name, error))
    return read


def answer(model_dir, device, pixels):
    """Load the model and run it on the pictures -> probabilities [N, classes], description, line about the place."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="You are using GPU version Paddle")  # choose_place says it
        warnings.filterwarnings("ignore", message="No ccache found")  # for building extensions; nothing is built
        import paddle  # noqa: F401

    from utils.place import choose_place

    place, sentence = choose_place(device)
    model = saved_model.load(model_dir, place)
    batches = [infer(model, pixels[i:i + BATCH]) for i in range(0, len(pixels), BATCH)]
    return np.concatenate(batches), model.description, sentence


def report(read, labels, opening):
    """Print the answers as the book does, under each picture's name where there are several."""
    print(opening)
    for name, result in read:
        if isinstance(result, UserError):
            continue
        if len(read) > 1:
            print(f"\n{shown(name)}")
        print(f"infer results: {labels[name][0][0]}")
        for class_name, probability in labels[name]:
            print(f"  {class_name:<12}{probability:.4f}")


def report_json(read, labels, description):
    """Print one JSON object: the model, and for each picture its classes or its error."""
    results = []
    for name, result in read:
        if isinstance(result, UserError):
            results.append({"picture": name, "error": str(result)})
        else:
            best = [{"class": class_name, "probability": round(p, 6)} for class_name, p in labels[name]]
            results.append({"picture": name, "label": best[0]["class"], "best": best})
    model = {key: description.get(key) for key in ("model", "depth", "dataset", "epochs", "test_accuracy")}
    print(json.dumps({"model": model, "results": results}, indent=2))


def complain(error):
    """Print an error as the command line does."""
    print(f"infer.py: error: {error}", file=sys.stderr, flush=True)


def parse(arguments):
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="infer.py", description="Name pictures with a trained model.")
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help="picture files; those in image/ by name alone")
    parser.add_argument("--model-dir", help="a folder that train.py wrote (default: the newest here)")
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto")
    parser.add_argument("--top-k", type=int, default=3, choices=range(1, 11), metavar="K", help="1 to 10 (default 3)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args(arguments)


def main(arguments=None):
    """Answer the command line; the return value is the exit status."""
    options = parse(arguments)
    sys.stdout.reconfigure(errors="backslashreplace")
    try:
        model_dir = Path(options.model_dir) if options.model_dir else default_model_dir()
        description, _ = saved_model.check(model_dir)
        read = read_all(options.pictures)
        good = {name: result for name, result in read if not isinstance(result, UserError)}
        labels, place = {}, ""
        if good:
            probabilities, description, place = answer(model_dir, options.device, np.concatenate(list(good.values())))
            labels = {name: label(p, description["classes"], options.top_k) for name, p in zip(good, probabilities)}
    except UserError as error:
        complain(error)
        return 2
    if options.json:
        report_json(read, labels, description)
    elif good:
        report(read, labels, f"Model: {introduce(model_dir, description)}\nPlace: {place}")
    return 0 if len(good) == len(dict(read)) else 2


if __name__ == "__main__":
    sys.exit(main())
