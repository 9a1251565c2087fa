"""Splits of hub data sets, through `datasets`: the files of the wanted split and no other, from the network once.

What was prepared of a commit is read again without asking anybody, so that the cells of a sweep neither fetch it again nor wait
for the network, and do not end where it does.
"""

import json
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from greenray.config.settings import without_credentials
from greenray.errors import GreenRayError, ResourceError, first_line
from greenray.tasks import hub


def split_names(repo_id: str, *, revision: str | None, enough: Collection[str]) -> list[str]:
    """The splits that it has; where the hub cannot be reached, or all of `enough` are among them, those that were prepared here.

    Raises ResourceError if neither is known.
    """
    prepared = sorted({split for info in _prepared(repo_id, revision=revision) for split in info["splits"]})
    if {*enough} <= {*prepared}:
        return prepared
    try:
        return [str(name) for name in _builder(repo_id, revision=revision)[1]]
    except hub.Unreachable:
        if prepared:
            return prepared
        raise


def load_split(repo_id: str, *, revision: str | None, split: str) -> Any:
    """The rows of a split, a `datasets.Dataset`; raises ResourceError if they cannot be had."""
    import datasets

    if (rows := _read_again(repo_id, revision=revision, split=split)) is not None:
        return rows
    by_split, _ = _builder(repo_id, revision=revision)
    # By itself `datasets` fetches the files of all splits: ImageNet's hundreds of gigabytes to evaluate on some thousand images.
    only = {"data_files": {split: by_split[split]}} if len(by_split) > 1 and split in by_split else {}
    with _in_a_sentence(repo_id, f"the split {split} cannot be loaded", revision=revision):
        # The sizes that its card tells are those of all splits.
        return datasets.load_dataset(repo_id, revision=revision, split=split, verification_mode="no_checks", **only)


def commit_of(rows: Any) -> str | None:
    """The commit that rows were prepared of, which is the name of the folder that they lie in; None if they lie in none."""
    files = rows.cache_files
    return Path(files[0]["filename"]).parent.name if files else None


def _builder(repo_id: str, *, revision: str | None) -> tuple[dict[str, list[str]], list[str]]:
    """The files of its splits, as far as they are kept apart, and the names of all splits."""
    import datasets
    from huggingface_hub.utils.tqdm import disable_progress_bars

    datasets.disable_progress_bars()
    disable_progress_bars()
    with _in_a_sentence(repo_id, "its splits cannot be read", revision=revision):
        builder = datasets.load_dataset_builder(repo_id, revision=revision)
        files = {str(split): [str(file) for file in found] for split, found in (builder.config.data_files or {}).items()}
        names = list(files or builder.info.splits or datasets.get_dataset_split_names(repo_id, revision=revision))
    return files, names


def _read_again(repo_id: str, *, revision: str | None, split: str) -> Any:
    """The rows of a split that was prepared before; None where it was not, or not of the commit that is cached."""
    import datasets

    for info in _prepared(repo_id, revision=revision):
        name = re.compile(rf".+-{re.escape(split)}(-\d{{5}}-of-\d{{5}})?\.arrow")
        files = sorted(str(file) for file in info["folder"].iterdir() if name.fullmatch(file.name))
        if split in info["splits"] and files:
            parts = [datasets.Dataset.from_file(file) for file in files]
            return datasets.concatenate_datasets(parts) if len(parts) > 1 else parts[0]
    return None


def _prepared(repo_id: str, *, revision: str | None) -> Iterator[dict[str, Any]]:
    """What is told of each preparation of the commit that the revision stands for in the cache, with its `folder`."""
    from huggingface_hub import try_to_load_from_cache

    card = try_to_load_from_cache(repo_id, "README.md", repo_type="dataset", revision=revision)
    commit = Path(card).parent.name if isinstance(card, str) else revision
    for file in sorted(hub.prepared_dataset(repo_id).glob(f"*/*/{commit or '-'}/dataset_info.json")):
        info = json.loads(file.read_text())
        yield {"splits": info.get("splits") or {}, "folder": file.parent}


@contextmanager
def _in_a_sentence(repo_id: str, what: str, *, revision: str | None) -> Iterator[None]:
    """What `datasets` raises: the hub's own reason if it has one, else the error's first line."""
    try:
        yield
    except GreenRayError:
        raise
    except Exception as error:
        hub.ask_for_dataset(repo_id, revision=revision)
        raise ResourceError(f"dataset {repo_id}: {what}: {without_credentials(first_line(error, longest=300))}") from error
