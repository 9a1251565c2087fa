"""What the hub answers, and what a cache holds, in sentences: a hub on this host, asked through huggingface_hub itself."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from greenray.config.refs import DatasetRef, ModelRef
from greenray.config.settings import Trust
from greenray.errors import ResourceError
from greenray.tasks import checkpoints, hub

SAFE = Trust()
BAD_TOKEN = "Invalid credentials in Authorization header"
DISABLED = "Access to this resource is disabled."


@pytest.fixture
def hub_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A hub on this host with the models (or statuses and headers) that are put into it, asked with an empty cache."""
    models: dict[str, Any] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = models.get(self.path.removeprefix("/api/models/"), (404, {"X-Error-Code": "RepoNotFound"}))
            status, headers = found if isinstance(found, tuple) else (200, {})
            body = json.dumps(found if status == 200 else {"error": "no"}).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", address)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    yield models
    server.shutdown()
    thread.join()
    server.server_close()


def listing(*files: str, **config: Any) -> dict[str, Any]:
    return {"id": "a/b", "siblings": [{"rfilename": name} for name in files], "config": config}


def on_hub(name: str = "a/b") -> ModelRef:
    return ModelRef(source="hub", id=name, label=name)


def cache(tmp_path: Path, *files: str, **config: Any) -> None:
    home = tmp_path / "cache" / "models--a--b"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text("0" * 40)
    snapshot = home / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    for name in files:
        (snapshot / name).write_text("x")
    (snapshot / "config.json").write_text(json.dumps(config))


class TestHub:
    def test_its_list_of_files_decides(self, hub_here: dict[str, Any]) -> None:
        hub_here["a/b"] = listing("config.json", "model.safetensors", "pytorch_model.bin", model_type="vit")
        checkpoints.check(on_hub(), trust=SAFE)
        hub_here["a/b"] = listing("config.json", "pytorch_model.bin", model_type="vit")
        with pytest.raises(ResourceError, match=r"trust: \{pickle: \[a/b\]\}"):
            checkpoints.check(on_hub(), trust=SAFE)
        checkpoints.check(on_hub(), trust=Trust(pickle=("a/b",)))
        hub_here["a/b"] = listing("config.json", "README.md", model_type="vit")
        with pytest.raises(ResourceError, match="has no weights"):
            checkpoints.check(on_hub(), trust=SAFE)

    def test_its_configuration_tells_of_code(self, hub_here: dict[str, Any]) -> None:
        own = {"AutoConfig": "x.C"}
        hub_here["a/b"] = listing("config.json", "model.safetensors", model_type="homemade", auto_map=own)
        with pytest.raises(ResourceError, match=r"trust: \{remote_code: \[a/b\]\}"):
            checkpoints.check(on_hub(), trust=SAFE)
        checkpoints.check(on_hub(), trust=Trust(remote_code=("a/b",)))
        hub_here["a/b"] = listing("config.json", "model.safetensors", model_type="resnet", auto_map=own)
        checkpoints.check(on_hub(), trust=SAFE)

    def test_what_it_does_not_have_is_said(self, hub_here: dict[str, Any]) -> None:
        with pytest.raises(ResourceError, match="does not exist on the hub"):
            checkpoints.check(on_hub(), trust=SAFE)
        with pytest.raises(ResourceError, match="is no hub id"):
            checkpoints.check(on_hub("a/b/c"), trust=SAFE)

    @pytest.mark.parametrize(
        ("status", "headers", "token", "kind", "sentence"),
        [
            (401, {"X-Error-Code": "RepoNotFound"}, None, hub.Unobtainable, "or is private: check its name, or set HF_TOKEN"),
            (401, {"X-Error-Message": BAD_TOKEN}, "hf_old", hub.Unreachable, "the hub does not accept the token (HF_TOKEN, or"),
            (401, {}, "hf_expired", hub.Unreachable, "the hub does not accept the token (HF_TOKEN, or"),
            (403, {"X-Error-Code": "GatedRepo"}, "hf_x", hub.Unobtainable, "is gated: accept its terms"),
            (403, {"X-Error-Message": "Please enable access"}, "hf_fine", hub.Unobtainable, "is forbidden to this token"),
            (403, {"X-Error-Message": DISABLED}, None, hub.Unobtainable, "was disabled on the hub"),
            (404, {}, None, ResourceError, "the hub answers with 404; try again later"),
            (429, {}, None, hub.Unreachable, "the hub answers with 429; try again later"),
            (503, {}, None, hub.Unreachable, "the hub answers with 503; try again later"),
        ],
    )
    def test_why_it_says_nothing_is_told_with_what_to_do(
        self,
        hub_here: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
        status: int,
        headers: dict[str, str],
        token: str | None,
        kind: type[ResourceError],
        sentence: str,
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", token or "")
        hub_here["a/b"] = (status, headers)
        with pytest.raises(ResourceError) as caught:
            checkpoints.check(on_hub(), trust=SAFE)
        assert (type(caught.value), sentence in str(caught.value)) == (kind, True), str(caught.value)
        assert token is None or token not in str(caught.value)

    def test_a_data_set_that_is_a_script_is_refused_at_once(self, hub_here: dict[str, Any]) -> None:
        hub_here["/api/datasets/a/b"] = listing("README.md", "b.py")
        with pytest.raises(hub.Unobtainable, match=r"script of its own \(b\.py\), .* revision: refs/convert/parquet"):
            hub.check_dataset("a/b", revision=None)
        hub_here["/api/datasets/a/b/revision/refs%2Fconvert%2Fparquet"] = listing("default/train/0000.parquet")
        hub.check_dataset("a/b", revision="refs/convert/parquet")

    def test_the_cache_comes_first_where_it_is_enough(self, hub_here: dict[str, Any], tmp_path: Path) -> None:
        cache(tmp_path, "model.safetensors", model_type="vit")
        checkpoints.check(on_hub(), trust=SAFE)  # the hub does not have it

    def test_a_cache_of_pickled_weights_has_to_do_without_a_hub(
        self, hub_here: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cache(tmp_path, "pytorch_model.bin", model_type="vit")
        hub_here["a/b"] = listing("config.json", "model.safetensors", "pytorch_model.bin", model_type="vit")
        checkpoints.check(on_hub(), trust=SAFE)  # the hub has more than the cache
        monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(ResourceError, match=r"trust: \{pickle: \[a/b\]\}"):
            checkpoints.check(on_hub(), trust=SAFE)
        checkpoints.check(on_hub(), trust=Trust(pickle=("a/b",)))

    def test_of_weights_in_parts_none_may_be_missing(self, hub_here: dict[str, Any], tmp_path: Path) -> None:
        parts = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
        cache(tmp_path, "preprocessor_config.json", *parts, model_type="vit")
        snapshot = tmp_path / "cache" / "models--a--b" / "snapshots" / ("0" * 40)
        weights = {"a": parts[0], "b": parts[1]}
        (snapshot / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))
        (snapshot / "pytorch_model.bin.index.json").write_text('{"weight_map": {"a": "pytorch_model-00001-of-00001.bin"}}')
        found = hub.find_model("a/b", revision=None, pickled=False)
        assert hub.fetch_model("a/b", revision=None, found=found) == snapshot
        (snapshot / parts[1]).unlink()
        with pytest.raises(ResourceError, match=r"model a/b: model-00002-of-00002\.safetensors is not cached"):
            hub.fetch_model("a/b", revision=None, found=found)

    def test_out_of_reach_is_said_so(self, hub_here: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(ResourceError, match="model a/b is not cached and the hub cannot be reached"):
            checkpoints.check(on_hub(), trust=SAFE)
        with pytest.raises(ResourceError, match="dataset a/b is not cached and the hub cannot be reached"):
            hub.check_dataset(DatasetRef(id="a/b").id, revision=None)
