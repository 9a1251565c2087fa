"""What the hub has, and how it comes here: its cache first, then the network with a short deadline.

A model is fetched whole, once, before anything is measured, and loaded as a folder: so nothing asks the network while a window
runs, all cells of a host load the same commit, and whatever is not here ends in one sentence.
"""

import contextlib
import errno
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from greenray.errors import Refused, ResourceError

SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_TIMEOUT_S = 10.0
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
# What stands beside the weights of a model: configurations, vocabularies, code; in its topmost folder only.
_BESIDE = ("*.json", "*.txt", "*.model", "*.py")
_DEEPER = "*/*"


class Found(NamedTuple):
    """What is known of a model without loading it: names of its files, and its config.json as far as the hub tells it."""

    files: Collection[str]
    config: Mapping[str, Any]


class Unreachable(ResourceError):
    """The hub cannot be reached or does not know us, so nothing is known of what it has."""


class Unobtainable(ResourceError, Refused):
    """Cannot be had however often this run tries: before the first cell it is the user's to mend, in a cell it is withheld."""


def find_model(repo_id: str, *, revision: str | None, pickled: bool) -> Found:
    """The model as it is cached, if config.json and weights are (pickled ones if they will do); else as the hub lists it.

    Where the hub cannot be reached either, a cache with weights of any kind has to do; raises ResourceError if there is none.
    """
    if (found := _cached(repo_id, pickled=pickled, revision=revision)) is not None:
        return found
    try:
        info = _ask(repo_id, kind="model", revision=revision)
    except Unreachable:
        if (found := _cached(repo_id, pickled=True, revision=revision)) is None:
            raise
        return found
    return Found({file.rfilename for file in info.siblings or ()}, info.config or {})


def fetch_model(repo_id: str, *, revision: str | None, found: Found) -> Path:
    """The folder of a model that `find_model` has found; its name is the commit. What is cached is not asked for again.

    Raises Unobtainable if it cannot be had, ResourceError if it may another time; in one sentence each.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    # A choice between the two was made by whoever judged what was found.
    names = SAFETENSORS if any(name in found.files for name in SAFETENSORS) else PICKLED
    if (folder := _whole(repo_id, revision=revision, names=names)) is not None:
        return folder
    disable_progress_bars()
    with _in_a_sentence(repo_id, kind="model", revision=revision, fetching=True):
        wanted = [*_BESIDE, names[0].replace(".", "*.")]  # and that in several files
        folder = Path(snapshot_download(repo_id, revision=revision, allow_patterns=wanted, ignore_patterns=[_DEEPER]))
    if (
        part := _missing_part(folder, names=names, of=repo_id)
    ) is not None:  # without a hub that answers, what is cached is all there is
        raise ResourceError(f"model {repo_id}: {part} is not cached and the hub does not give it; try again later.")
    return folder


def _whole(repo_id: str, *, revision: str | None, names: Collection[str]) -> Path | None:
    """The folder of a model in the cache if nothing of it is missing, weights in several files and a processor included."""
    paths = {name: _cached_path(repo_id, name, revision=revision) for name in ("config.json", *_PROCESSORS, *names)}
    config = paths["config.json"]
    processor, weights = (any(paths[name] is not None for name in some) for some in (_PROCESSORS, names))
    if config is None or not processor or not weights or _missing_part(config.parent, names=names, of=repo_id) is not None:
        return None
    return config.parent


def _missing_part(folder: Path, *, names: Collection[str], of: str) -> str | None:
    """The first file that an index of weights in several files names and that is not there."""
    for index in (folder / name for name in names if name.endswith(".index.json") and (folder / name).exists()):
        parts = json_object(index, of=of).get("weight_map", {}).values()
        if missing := next((part for part in parts if not (folder / part).exists()), None):
            return str(missing)
    return None


def _cached_path(repo_id: str, name: str, *, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repo_id, name, revision=revision)
    return Path(path) if isinstance(path, str) else None


def prepared_dataset(repo_id: str) -> Path:
    """The folder of what `datasets` has prepared of a data set: configuration / version / commit / files in Arrow's format."""
    home = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface").expanduser()
    owner, _, name = repo_id.rpartition("/")
    # As datasets.naming.camelcase_to_snakecase, which is not imported for that: it takes a second.
    snake = re.sub(r"([a-z\d])([A-Z])", r"\1_\2", re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)).lower()
    folder = Path(os.environ.get("HF_DATASETS_CACHE") or home / "datasets").expanduser()
    return folder / "___".join(part for part in (owner, snake) if part)


def check_dataset(repo_id: str, *, revision: str | None) -> None:
    """Pass if the dataset was prepared here before or the hub has it; raises ResourceError like `find_model`."""
    if not any(prepared_dataset(repo_id).glob("**/*.arrow")):
        ask_for_dataset(repo_id, revision=revision)


def ask_for_dataset(repo_id: str, *, revision: str | None) -> None:
    """Pass if the hub has it for us now, whatever is cached; raises ResourceError with what to do."""
    info = _ask(repo_id, kind="dataset", revision=revision)
    script = f"{repo_id.rpartition('/')[2]}.py"
    if any(file.rfilename == script for file in info.siblings or ()):
        raise Unobtainable(
            f"dataset {repo_id} is read by a script of its own ({script}), which is not run: name a copy of it that consists of "
            "files; the hub often has one in Parquet as revision: refs/convert/parquet."
        )


def _cached(repo_id: str, *, pickled: bool, revision: str | None) -> Found | None:
    """What the cache has of a model; None unless that is its configuration and some of the weights."""
    from huggingface_hub import errors

    names = ("config.json", *SAFETENSORS, *(PICKLED if pickled else ()))
    try:
        paths = {name: _cached_path(repo_id, name, revision=revision) for name in names}
    except errors.HFValidationError:
        return None
    config = paths.pop("config.json")
    files = {name for name, path in paths.items() if path is not None}
    return Found(files, json_object(config, of=repo_id)) if config is not None and files else None


def json_object(file: Path, *, of: str) -> dict[str, Any]:
    """What a JSON file of a model holds; raises ResourceError where that is no object."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        if isinstance(found := json.loads(file.read_text()), dict):
            return found
    raise ResourceError(f"model {of}: its {file.name} cannot be read or holds no JSON object.")


def _ask(repo_id: str, *, kind: Literal["model", "dataset"], revision: str | None) -> Any:
    """What the hub says of a repository; raises ResourceError with a sentence, why it says nothing or gives nothing."""
    from huggingface_hub import HfApi

    with _in_a_sentence(repo_id, kind=kind, revision=revision):
        api = HfApi()
        info = api.repo_info(repo_id, repo_type=kind, revision=revision, timeout=_TIMEOUT_S)
        if info.gated:  # everybody may see what is in it
            api.auth_check(repo_id, repo_type=kind)
        return info


@contextlib.contextmanager
def _in_a_sentence(repo_id: str, *, kind: str, revision: str | None, fetching: bool = False) -> Iterator[None]:
    """What the hub's client raises, as ResourceError with one sentence; addresses and tokens stand in none of them."""
    from huggingface_hub import errors

    try:
        yield
    except Exception as raised:
        # What stands behind a file that is "not here locally either".
        error = raised.__cause__ if isinstance(raised, errors.LocalEntryNotFoundError) and raised.__cause__ else raised
        response = getattr(error, "response", None)
        named, status = f"{kind} {repo_id}", response.status_code if response is not None else 0
        with_token = response is not None and "authorization" in response.request.headers
        if status == 401 and with_token:  # one that has expired is not told what is public either
            raise Unreachable(
                f"{named}: the hub does not accept the token (HF_TOKEN, or that of `hf auth login`): renew it, or unset it "
                "if all that is wanted is public."
            ) from None
        at = f" at revision {revision}" if revision else ""
        for_good = {  # the first that fits: some of these errors are kinds of others
            errors.HFValidationError: f"{kind} {repo_id!r} is no hub id (owner/name); "
            "a local folder is written with ./ or / in front.",
            errors.RevisionNotFoundError: f"{named} has no revision {revision} on the hub; leave it out or name a commit.",
            errors.GatedRepoError: f"{named} is gated: accept its terms on the hub and set HF_TOKEN.",
            errors.RepositoryNotFoundError: f"{named}{at} does not exist on the hub, or is private: "
            "check its name, or set HF_TOKEN.",
            errors.DisabledRepoError: f"{named} was disabled on the hub; take another.",
        }
        for type_, sentence in for_good.items():
            if isinstance(error, type_):
                raise Unobtainable(sentence) from None
        if status == 403 and with_token:
            raise Unobtainable(
                f"{named}{at} is forbidden to this token: a fine-grained one has to be allowed to read public gated repositories."
            ) from None
        if status in (404, 410) and fetching:
            raise ResourceError(
                f"{named}{at}: a file of it went away while it was fetched; try again later, or take another model."
            ) from None
        if isinstance(error, errors.HfHubHTTPError):
            own = Unreachable if status == 429 or status >= 500 else ResourceError
            raise own(f"{named}{at} is not cached and the hub answers with {status}; try again later.") from None
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise ResourceError(f"{named}{at} cannot be kept in the hub's cache: {os.strerror(error.errno)}.") from None
        if isinstance(error, errors.OfflineModeIsEnabled):
            raise Unreachable(f"{named}{at} is not cached and HF_HUB_OFFLINE is set: unset it, or use a local folder.") from None
        # Everything else is the network: the client's own error types have changed between its versions.
        raise Unreachable(
            f"{named}{at} is not cached and the hub cannot be reached ({type(error).__name__}); "
            "connect to the network, or use a local folder."
        ) from None
