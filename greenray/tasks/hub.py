"""Whether something exists on the hub: its cache first, then the network with a short deadline."""

import contextlib
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from greenray.errors import ResourceError

SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_TIMEOUT_S = 10.0


class Found(NamedTuple):
    """What is known of a model without loading it: names of its files, and its config.json as far as the hub tells it."""

    files: Collection[str]
    config: Mapping[str, Any]


class Unreachable(ResourceError):
    """The hub cannot be reached, so nothing is known of what it has."""


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


def check_dataset(repo_id: str, *, revision: str | None) -> None:
    """Pass if the dataset was prepared here before or the hub has it; raises ResourceError like `find_model`."""
    home = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface").expanduser()
    folder = Path(os.environ.get("HF_DATASETS_CACHE") or home / "datasets").expanduser() / repo_id.replace("/", "___").lower()
    if not any(folder.glob("**/*.arrow")):
        _ask(repo_id, kind="dataset", revision=revision)


def _cached(repo_id: str, *, pickled: bool, revision: str | None) -> Found | None:
    """What the cache has of a model; None unless that is its configuration and some of the weights."""
    from huggingface_hub import errors, try_to_load_from_cache

    names = ("config.json", *SAFETENSORS, *(PICKLED if pickled else ()))
    try:
        paths = {name: try_to_load_from_cache(repo_id, name, revision=revision) for name in names}
    except errors.HFValidationError:
        return None
    config = paths.pop("config.json")
    files = {name for name, path in paths.items() if isinstance(path, str)}
    return Found(files, json_object(Path(config), of=repo_id)) if isinstance(config, str) and files else None


def json_object(file: Path, *, of: str) -> dict[str, Any]:
    """What a JSON file of a model holds; raises ResourceError where that is no object."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        if isinstance(found := json.loads(file.read_text()), dict):
            return found
    raise ResourceError(f"model {of}: its {file.name} cannot be read or holds no JSON object.")


def _ask(repo_id: str, *, kind: Literal["model", "dataset"], revision: str | None) -> Any:
    """What the hub says of a repository; raises ResourceError with a sentence, why it says nothing."""
    from huggingface_hub import HfApi, errors

    try:
        return HfApi().repo_info(repo_id, repo_type=kind, revision=revision, timeout=_TIMEOUT_S)
    except Exception as error:
        named, status = f"{kind} {repo_id}", getattr(getattr(error, "response", None), "status_code", "an error")
        at = f" at revision {revision}" if revision else ""
        sentences = {  # the first that fits: some of these errors are kinds of others
            errors.HFValidationError: f"{kind} {repo_id!r} is no hub id (owner/name); "
            "a local folder is written with ./ or / in front.",
            errors.RevisionNotFoundError: f"{named} has no revision {revision} on the hub; leave it out or name a commit.",
            errors.GatedRepoError: f"{named} is gated: accept its terms on the hub and set HF_TOKEN.",
            errors.RepositoryNotFoundError: f"{named}{at} does not exist on the hub, or is private: "
            "check its name, or set HF_TOKEN.",
            errors.HfHubHTTPError: f"{named}{at} is not cached and the hub answers with {status}; try again later.",
        }
        for type_, sentence in sentences.items():
            if isinstance(error, type_):
                raise ResourceError(sentence) from None
        # Everything else is the network: the client's own error types have changed between its versions.
        raise Unreachable(
            f"{named}{at} is not cached and the hub cannot be reached ({type(error).__name__}); "
            "connect to the network, or use a local folder."
        ) from None
