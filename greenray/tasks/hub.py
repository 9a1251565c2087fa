"""Whether something exists on the hub: its cache first, then the network with a short deadline."""

import os
from pathlib import Path
from typing import Any, Literal

from greenray.errors import ResourceError

_TIMEOUT_S = 10.0


def check_model(repo_id: str, *, revision: str | None) -> None:
    """Pass if the model is cached or the hub has it.

    Raises:
        ResourceError: it does not exist, or is not cached and the hub cannot be reached.
    """
    from huggingface_hub import try_to_load_from_cache

    weights = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")

    def cached(filename: str) -> bool:
        return isinstance(try_to_load_from_cache(repo_id, filename, revision=revision), str)

    _check(repo_id, kind="model", revision=revision, cached=lambda: cached("config.json") and any(map(cached, weights)))


def check_dataset(repo_id: str, *, revision: str | None) -> None:
    """Pass if the dataset was prepared here before or the hub has it; raises ResourceError like `check_model`."""
    _check(repo_id, kind="dataset", revision=revision, cached=lambda: any(_prepared(repo_id)))


def _prepared(repo_id: str) -> "list[Path]":
    home = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface").expanduser()
    folder = Path(os.environ.get("HF_DATASETS_CACHE") or home / "datasets").expanduser() / repo_id.replace("/", "___").lower()
    return list(folder.glob("**/*.arrow")) if folder.is_dir() else []


def _check(repo_id: str, *, kind: Literal["model", "dataset"], revision: str | None, cached: Any) -> None:
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
        if cached():
            return
        HfApi().repo_info(repo_id, repo_type=kind, revision=revision, timeout=_TIMEOUT_S)
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
        raise ResourceError(
            f"{kind} {repo_id}{at} is not cached and the hub cannot be reached ({type(error).__name__}); "
            "connect to the network, or use a local folder."
        ) from None
