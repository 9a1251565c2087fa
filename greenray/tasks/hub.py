"""Whether something exists on the hub: its cache first, then the network with a short deadline."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from greenray.errors import ResourceError

_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is known of a model without loading it: names of its files, and its config.json as far as the hub tells it."""

    files: frozenset[str]
    config: Mapping[str, Any] = field(default_factory=dict)


class Unreachable(ResourceError):
    """The hub cannot be reached, so nothing is known of what it has."""


def find_model(repo_id: str, *, revision: str | None, wanted: Sequence[str], known: Sequence[str]) -> Found:
    """The model as it is cached, if config.json and a wanted file are; else as the hub lists it.

    Where the hub cannot be reached either, a cache that holds another of the known files has to do.

    Raises:
        ResourceError: it does not exist, or is not cached and the hub cannot be reached.
    """
    if (found := _cached(repo_id, wanted, revision=revision)) is not None:
        return found
    try:
        info = _ask(repo_id, kind="model", revision=revision)
    except Unreachable:
        if (found := _cached(repo_id, known, revision=revision)) is None:
            raise
        return found
    return Found(files=frozenset(file.rfilename for file in info.siblings or ()), config=info.config or {})


def check_dataset(repo_id: str, *, revision: str | None) -> None:
    """Pass if the dataset was prepared here before or the hub has it; raises ResourceError like `find_model`."""
    home = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface").expanduser()
    folder = Path(os.environ.get("HF_DATASETS_CACHE") or home / "datasets").expanduser() / repo_id.replace("/", "___").lower()
    if not any(folder.glob("**/*.arrow")):
        _ask(repo_id, kind="dataset", revision=revision)


def _cached(repo_id: str, weights: Sequence[str], *, revision: str | None) -> Found | None:
    """What the cache has of a model; None unless that is its configuration and some of the weights."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        paths = {name: try_to_load_from_cache(repo_id, name, revision=revision) for name in ("config.json", *weights)}
    except HFValidationError:
        return None
    config = paths.pop("config.json")
    files = frozenset(name for name, path in paths.items() if isinstance(path, str))
    return Found(files=files, config=json.loads(Path(config).read_text())) if isinstance(config, str) and files else None


def _ask(repo_id: str, *, kind: Literal["model", "dataset"], revision: str | None) -> Any:
    """What the hub says of a repository.

    Raises:
        ResourceError: in a sentence, why it says nothing.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    at = f" at revision {revision}" if revision else ""
    try:
        return HfApi().repo_info(repo_id, repo_type=kind, revision=revision, timeout=_TIMEOUT_S)
    except HFValidationError:
        raise ResourceError(
            f"{kind} {repo_id!r} is no hub id (owner/name); a local folder is written with ./ or / in front."
        ) from None
    except RevisionNotFoundError:
        raise ResourceError(f"{kind} {repo_id} has no revision {revision} on the hub; leave it out or name a commit.") from None
    except GatedRepoError:
        raise ResourceError(f"{kind} {repo_id} is gated: accept its terms on the hub and set HF_TOKEN.") from None
    except RepositoryNotFoundError:
        raise ResourceError(
            f"{kind} {repo_id}{at} does not exist on the hub, or is private: check its name, or set HF_TOKEN."
        ) from None
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", "an error")
        raise ResourceError(f"{kind} {repo_id}{at} is not cached and the hub answers with {status}; try again later.") from None
    except Exception as error:
        # Everything else is the network: the client's own error types have changed between its versions.
        raise Unreachable(
            f"{kind} {repo_id}{at} is not cached and the hub cannot be reached ({type(error).__name__}); "
            "connect to the network, or use a local folder."
        ) from None
