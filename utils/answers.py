"""What infer.py does around the chapter's steps: its command line, which model answers, and what is printed.

And the process of its own in which Paddle runs there: a model that crashes Paddle is then one line, like any mistake.
"""
import argparse
import contextlib
import json
import multiprocessing
import os
import signal
import sys
import traceback
from pathlib import Path

from utils.errors import STOP_SIGNALS, UserError, complain, say, shown
from utils.inside import look
from utils.parallel.launch import end_with_parent

TRAINED = "image_classification_*.inference.model/description.json"  # where train.py saves, unless told otherwise
FACTS = ("model", "depth", "dataset", "epochs", "test_accuracy")  # of the description, in the JSON that is printed


def parse(arguments):
    """Read the command line of infer.py. Errors: UserError where it names files that are not to be written."""
    parser = argparse.ArgumentParser(prog="infer.py", description="Name pictures with a trained model.",
                                     allow_abbrev=False)
    parser.add_argument("pictures", nargs="+", metavar="PICTURE",
                        help="a picture file; the chapter's own in image/ by their names alone")
    parser.add_argument("--model-dir", help="a folder that train.py wrote (default: the newest one here)")
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto")
    parser.add_argument("--top-k", type=int, default=3, choices=range(1, 11), metavar="K",
                        help="how many classes to name, 1 to 10 (default: 3)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--features", metavar="OUT.npz",
                        help="write what the last layer makes its answer from, for each picture")
    parser.add_argument("--explain", metavar="OUT.png",
                        help="draw where in each picture its two likeliest classes are seen (Grad-CAM)")
    options = parser.parse_args(arguments)
    look.check(options.features, options.explain, len(options.pictures))
    return options


def choose_model(model_dir, shipped):
    """The model's folder: the one asked for, else the newest trained here, else `shipped`, the program's own.

    Errors: UserError where there is none.
    """
    if model_dir == "":
        raise UserError("--model-dir is empty: name a folder that train.py wrote, or omit it")
    if model_dir is not None:
        return Path(model_dir)
    trained = list(Path().glob(TRAINED))
    if trained:
        return max(trained, key=_time_written).parent
    if (shipped / "description.json").exists():
        return shipped
    raise UserError("there is no trained model here: train one with python train.py, or name its folder with "
                    "--model-dir")


def _time_written(path):
    """When a file was written last; 0 where that is unknown, as when it is being replaced."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0


def read_all(names, load_image):
    """Read the pictures -> pixels, and errors of those that cannot be read; both by number on the command line."""
    images, errors = {}, {}
    for number, name in enumerate(names):
        try:
            images[number] = load_image(name)
        except UserError as error:
            complain("infer.py", error)
            errors[number] = error
    return images, errors


def look_inside(options, images):
    """What --features and --explain ask for, about the pictures that could be read -> a look.Look, None for neither."""
    if options.features is None and options.explain is None:
        return None
    return look.Look(options.features, options.explain, [options.pictures[number] for number in images])


def in_child(answer, model_dir, *arguments):
    """`answer(model_dir, *arguments)`, run in a process of its own, which is forked from this one.

    So what ends Paddle's process does not end this one, and what its libraries print is not seen. A process that has
    Paddle already runs it itself, since a fork would lack Paddle's threads; so does one on another system than Linux.
    Errors: as `answer`, a RuntimeError with its traceback for unforeseen ones, and UserError where Paddle crashes.
    """
    if "paddle" in sys.modules or not sys.platform.startswith("linux"):
        return answer(model_dir, *arguments)
    fork = multiprocessing.get_context("fork")
    receiver, sender = fork.Pipe(duplex=False)
    child = fork.Process(target=_run_and_send, args=(sender, os.getpid(), answer, model_dir, *arguments), daemon=True)
    child.start()
    sender.close()
    try:
        result, error = receiver.recv()
    except EOFError:
        result, error = None, None
    child.join()
    if error is not None:
        raise error
    if result is None:
        raise _crash(model_dir, child.exitcode)
    return result


def _run_and_send(sender, parent, function, *arguments):
    """What the child process does: run the function, and send (result, None) or (None, error)."""
    for number in STOP_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    end_with_parent(parent, signal.SIGKILL)
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None where the shell closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    try:
        outcome = function(*arguments), None
    except (UserError, MemoryError) as error:
        outcome = None, error
    except Exception:  # told as text: its type may be one of Paddle's, which the parent does not know
        outcome = None, RuntimeError(traceback.format_exc())
    sender.send(outcome)


def _crash(model_dir, code):
    """The error for a child process that ended with exit status `code`, which is negative where a signal ended it."""
    if code == -signal.SIGKILL:  # so Linux ends what takes the last of the memory
        return MemoryError()
    how = signal.strsignal(-code) if code < 0 else f"exit status {code}"
    return UserError(f"Paddle crashed on the model in {shown(model_dir)} ({how}): train again, or name another folder "
                     "with --model-dir")


@contextlib.contextmanager
def errors_as_json(wanted):
    """Print an error that ends the block as a JSON object too, where JSON is wanted."""
    try:
        yield
    except UserError as error:
        if wanted:
            _print(json.dumps({"error": str(error)}, indent=2))
        raise


def introduce(model_dir, description, shipped):
    """One line: which model answers, and what it was trained on. `shipped` is the folder of the program's own."""
    depth = f"-{description['depth']}" if description.get("depth") else ""
    line = f"{_shortest(model_dir)}, {description['model']}{depth} trained on {description['dataset']}"
    if description["dataset"] == "sketches":
        line += " (drawings that the program made, not photographs)"
    if description.get("test_accuracy") is not None:
        line += f", test accuracy {description['test_accuracy']:.4f}"
    if model_dir == shipped:
        line += "; it comes with the program, python train.py makes your own"
    return line


def _shortest(folder):
    """A folder as seen from the current one where it lies in that, else as it was given."""
    whole, here = Path(os.path.abspath(folder)), Path.cwd()
    return shown(whole.relative_to(here) if here in whole.parents else folder)


def print_text(options, labels, opening):
    """Print the answers as the book does, each under its picture's name where there are several.

    labels: by number on the command line, pairs (class, probability), best first.
    """
    lines = [opening]
    for word, path in (("Features", options.features), ("Explanation", options.explain)):
        lines += [f"{word}: {shown(path)}"] if path else []
    width = max([11, *(len(name) for best in labels.values() for name, _ in best)])
    for number, best in labels.items():
        if len(options.pictures) > 1:
            lines += ["", shown(options.pictures[number])]
        lines.append(f"infer results: {best[0][0]}")
        lines += [f"  {name:<{width}} {probability:.4f}" for name, probability in best]
    _print("\n".join(lines))


def print_json(names, labels, errors, description):
    """Print one JSON object: the model, and for each picture, in the order given, its best classes or its error."""
    results = []
    for number, name in enumerate(names):
        if number in errors:
            results.append({"picture": name, "error": str(errors[number])})
        else:
            best = [{"class": kind, "probability": round(p, 6)} for kind, p in labels[number]]
            results.append({"picture": name, "label": best[0]["class"], "best": best})
    model = {key: description.get(key) for key in FACTS}
    _print(json.dumps({"model": model, "results": results}, indent=2))


def _print(text):
    """Print, with letters that the terminal lacks written out."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    say(text.encode(encoding, "backslashreplace").decode(encoding))
