"""The finished model that a new run in the same folder would replace: kept aside, one generation of it."""
import shutil
from pathlib import Path

from utils.errors import UserError


def holds_finished_model(folder, head):
    """Whether a folder has a model that a whole run ended with; `head` is its checkpoint's, or None.

    Errors: UserError where the folder cannot be looked into.
    """
    try:
        return (Path(folder) / "description.json").exists() and not (head and head.settings.get("max_batches"))
    except OSError as error:
        raise UserError(f"cannot use the folder {folder}: {error.strerror or error}") from error


def keep_aside(folder):
    """Copy a folder's files to FOLDER.earlier, in the place of what was there; returns that path.

    Errors: UserError where that cannot be written; both folders are then as they were.
    """
    folder = Path(folder).resolve()
    target, partial = (folder.with_name(f"{folder.name}{ending}") for ending in (".earlier", ".earlier.partial"))
    try:
        if partial.exists():
            shutil.rmtree(partial)
        shutil.copytree(folder, partial, ignore=shutil.ignore_patterns(".*"))
        if target.exists():
            shutil.rmtree(target)
        partial.rename(target)
    except (OSError, shutil.Error) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise UserError(f"cannot write {target}, where the finished model in {folder} would be kept aside: "
                        f"{getattr(error, 'strerror', None) or error}; it is kept where it is") from error
    return target
