"""Which kinds of store there are. To add one: a file with its class, and a line here."""

import pkgutil
from pathlib import Path
from typing import cast

from greenray.errors import StoreError
from greenray.store.base import Store

STORES: dict[str, str] = {
    "file": "greenray.store.local:LocalStore",
}
"""By the scheme of OUT; a text without one is a folder."""


def open_store(out: str | Path) -> Store:
    """The store at a folder or URI, not yet read or written. Raises StoreError where no kind of store has this scheme."""
    text = str(out)
    scheme = text.partition("://")[0] if "://" in text else "file"
    if scheme not in STORES:
        raise StoreError(
            f"{text}: object stores ({scheme}://) are not supported; give a folder that every host sees (NFS, a shared volume)."
        )
    return cast("Store", pkgutil.resolve_name(STORES[scheme])(text))
