"""A hub on loopback: `python -m tests.hub.serve [--port P]` prints its address, for HF_ENDPOINT.

It answers what huggingface_hub, transformers and datasets ask huggingface.co for: what a repository is, its files and their
sizes, the files themselves. Large ones come from another address, with a signature in it, as there. Who sends TOKEN may read
what its owner has accepted the terms of: the gated data set, but not the gated model.
"""

import argparse
import hashlib
import json
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub import models, pictures

TOKEN = "hf_ThisIsTheTokenOfTheHubOnLoopback"
SIGNATURE = "ASignatureThatNoRowShouldShow"
_LARGE = (".safetensors", ".bin", ".parquet")
_REPO = r"(?P<id>[\w.-]+/[\w.-]+)"
_API = re.compile(rf"/api/(?P<kind>models|datasets)/{_REPO}(?:/(?P<what>revision|tree|paths-info|auth-check))?(?:/(?P<rest>.*))?")
_RESOLVE = re.compile(rf"/(?P<kind>datasets/)?{_REPO}/resolve/(?P<revision>[^/]+)/(?P<file>.+)")


@dataclass
class Repository:
    """One of the hub's, made when it is first asked for its files."""

    kind: str
    id: str
    folder: Path

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    @property
    def commit(self) -> str:
        return hashlib.sha1(f"{self.kind}/{self.id}".encode()).hexdigest()

    @property
    def revisions(self) -> tuple[str, ...]:
        return ("main", "v1.0", self.commit)

    @property
    def names(self) -> tuple[str, ...]:
        return (models.MODELS if self.kind == "models" else pictures.DATASETS)[self.id].files

    @property
    def manner(self) -> str:
        if self.kind == "models":
            return models.MODELS[self.id].manner
        return "accepted" if pictures.DATASETS[self.id].gated else "plain"

    @cached_property
    def config(self) -> dict[str, Any]:
        """What the hub tells of a model's configuration."""
        if "config.json" not in self.names:
            return {}
        found = json.loads((self.made() / "config.json").read_text())
        return {key: found[key] for key in ("architectures", "auto_map", "model_type") if key in found}

    def made(self) -> Path:
        with self._lock:
            if not self.folder.exists():
                making = self.folder.with_suffix(".making")
                making.mkdir(parents=True)
                (models if self.kind == "models" else pictures).make(self.id, making)
                making.rename(self.folder)
        return self.folder

    @property
    def folders(self) -> tuple[str, ...]:
        return tuple(sorted({name.rpartition("/")[0] for name in self.names} - {""}))

    def entry(self, name: str) -> dict[str, Any]:
        """What the hub tells of a file or folder."""
        if name in self.folders:
            return {"type": "directory", "path": name, "oid": hashlib.sha1(name.encode()).hexdigest(), "size": 0}
        content = (self.made() / name).read_bytes()
        plain = {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
        if not name.endswith(_LARGE):
            return plain
        return plain | {"lfs": {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}}


class Hub(ThreadingHTTPServer):
    """Attributes:
    asked: every request so far, as "METHOD /path".
    """

    daemon_threads = True

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Answer)
        every = [("models", name) for name in models.MODELS] + [("datasets", name) for name in pictures.DATASETS]
        self.repositories = {key: Repository(*key, folder / "--".join(key).replace("/", "--")) for key in every}
        self.asked: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answer(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer()

    def _answer(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        path = unquote(urlsplit(self.path).path)
        with suppress(ConnectionError):
            if found := _API.fullmatch(path):
                self._tell(**found.groupdict())
            elif found := _RESOLVE.fullmatch(path):
                self._resolve(**found.groupdict())
            elif path.startswith("/large/"):
                self._large(path)
            else:
                self._fail(404, "NotFound", "Not Found")

    def _tell(self, *, kind: str, id: str, what: str | None, rest: str | None) -> None:
        if (repository := self._repository(kind, id)) is None:
            return None
        revision, _, path = (rest or "main").partition("/")
        if revision not in repository.revisions:
            return self._fail(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if what == "auth-check":
            return self._json({}) if self._may_read(repository) else None
        if what == "tree":
            return self._json(self._below(repository, path))
        if what == "paths-info":
            names = set(self._asked_paths()) & {*repository.names, *repository.folders}
            return self._json([repository.entry(name) for name in sorted(names)])
        gated = {"gated": "manual", "accepted": "auto"}.get(repository.manner, False)
        about = {"_id": repository.commit[:24], "id": id, "sha": repository.commit, "private": False, "gated": gated}
        about |= {
            "disabled": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "siblings": [{"rfilename": n} for n in repository.names],
        }
        return self._json(about | ({"modelId": id, "config": repository.config} if kind == "models" else {}))

    def _below(self, repository: Repository, path: str) -> list[dict[str, Any]]:
        """What lies in a folder: of its own, or all the way down."""
        deep = parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower() in ("true", "1")
        inside = [name for name in (*repository.folders, *repository.names) if not path or name.startswith(f"{path}/")]
        level = path.count("/") + 1 if path else 0
        return [repository.entry(name) for name in inside if deep or name.count("/") == level]

    def _asked_paths(self) -> list[str]:
        text = self._body.decode()
        if self.headers.get("Content-Type", "").startswith("application/json"):
            return list(json.loads(text)["paths"])
        return parse_qs(text).get("paths", [])

    def _resolve(self, *, kind: str | None, id: str, revision: str, file: str) -> None:
        repository = self._repository("datasets" if kind else "models", id)
        if repository is None or not self._may_read(repository):
            return None
        if revision not in repository.revisions:
            return self._fail(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        gone = repository.manner == "vanishing" and any("/large/" in asked and id in asked for asked in self.server.asked)
        if file not in repository.names or gone:
            return self._fail(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": repository.commit})
        entry = repository.entry(file)
        headers = {"X-Repo-Commit": repository.commit, "Accept-Ranges": "bytes"}
        if "lfs" not in entry:
            return self._bytes((repository.made() / file).read_bytes(), {**headers, "ETag": f'"{entry["oid"]}"'})
        place = f"http://localhost:{self.server.server_port}/large/{repository.kind}/{id}/{file}?X-Amz-Signature={SIGNATURE}"
        linked = {"X-Linked-Etag": f'"{entry["lfs"]["oid"]}"', "X-Linked-Size": str(entry["size"])}
        return self._send(302, b"", {**headers, **linked, "ETag": f'"{entry["lfs"]["oid"]}"', "Location": place})

    def _large(self, path: str) -> None:
        _, _, kind, owner, name, file = path.split("/", 5)
        repository = self.server.repositories[kind, f"{owner}/{name}"]
        content = (repository.made() / file).read_bytes()
        if repository.manner != "vanishing":
            return self._bytes(content, {"Accept-Ranges": "bytes"})
        if sum(f"GET {path}" in asked for asked in self.server.asked) > 1:
            return self._fail(404, "", "Not Found")
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])
        self.close_connection = True
        return None

    def _repository(self, kind: str, id: str) -> Repository | None:
        if (found := self.server.repositories.get((kind, id))) is None:
            signed_in = self.headers.get("Authorization") == f"Bearer {TOKEN}"
            self._fail(404 if signed_in else 401, "RepoNotFound", "Repository not found")
        return found

    def _may_read(self, repository: Repository) -> bool:
        if repository.manner not in ("gated", "accepted"):
            return True
        signed_in = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if signed_in and repository.manner == "accepted":
            return True
        said = f"Access to {repository.kind.rstrip('s')} {repository.id} is restricted."
        self._fail(403 if signed_in else 401, "GatedRepo", said)
        return False

    def _bytes(self, content: bytes, headers: dict[str, str]) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked is None:
            return self._send(200, content, headers)
        first, last = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
        if first > last:
            return self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        return self._send(206, content[first : last + 1], {**headers, "Content-Range": f"bytes {first}-{last}/{len(content)}"})

    def _json(self, told: Any) -> None:
        self._send(200, json.dumps(told).encode(), {"Content-Type": "application/json; charset=utf-8"})

    def _fail(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        told = {"X-Error-Code": code, "X-Error-Message": message, "Content-Type": "application/json", **(headers or {})}
        self._send(status, json.dumps({"error": message}).encode(), told)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Quiet."""


@contextmanager
def serving(*, port: int = 0) -> Iterator[Hub]:
    """The hub, answering until the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="greenray-hub-"))
    hub = Hub(folder, port=port)
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()
        shutil.rmtree(folder, ignore_errors=True)


def warm() -> None:
    """Import what makes models, which takes longer than a client waits for an answer."""
    from transformers import AutoConfig, AutoModelForImageClassification  # noqa: F401
    from transformers.utils import logging

    logging.disable_progress_bar()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=0)
    warm()
    with serving(port=parser.parse_args().port) as hub:
        print(hub.address, flush=True)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
