"""The data sets of the hub on loopback: real pictures in the shape of the real ones (columns, class names, splits, Parquet).

The pictures are those that scikit-learn ships, two photographs and handwritten digits, cut to pieces; the labels are turns.
"""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.hub.names import CIFAR10, EUROSAT, FOOD101, IMAGENET


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """A data set to be made: rows and files by split; `format` of the encoded pictures, `withheld` the split without labels.

    `config`: the name of its only configuration and of the folder that holds it, `image`: the column of pictures.
    """

    names: tuple[str, ...]
    splits: dict[str, tuple[int, int]]
    config: str = "default"
    image: str = "image"
    format: str = "JPEG"
    withheld: str | None = None
    extra: tuple[str, ...] = ()
    gated: bool = False

    @property
    def files(self) -> tuple[str, ...]:
        """The names of its files."""
        return ("README.md", *(name for split, (_, parts) in self.splits.items() for name in self.parts(split, parts)))

    @property
    def folder(self) -> str:
        return "data" if self.config == "default" else self.config

    def parts(self, split: str, parts: int) -> list[str]:
        return [f"{self.folder}/{split}-{part:05}-of-{parts:05}.parquet" for part in range(parts)]


DATASETS = {
    "ILSVRC/imagenet-1k": Pictures(
        names=IMAGENET, splits={"train": (40, 2), "validation": (40, 2), "test": (8, 1)}, withheld="test", gated=True
    ),
    "ethz/food101": Pictures(names=FOOD101, splits={"train": (40, 2), "validation": (40, 1)}),
    "blanchon/EuroSAT_RGB": Pictures(
        names=EUROSAT, splits={"train": (40, 1), "validation": (20, 1), "test": (40, 1)}, extra=("filename",)
    ),
    "uoft-cs/cifar10": Pictures(
        names=CIFAR10, splits={"train": (40, 1), "test": (20, 1)}, config="plain_text", image="img", format="PNG"
    ),
}


def make(repo_id: str, folder: Path) -> None:
    """Write the files of a repository."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    made = DATASETS[repo_id]
    features = _features(made)
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pictures = _encoded(made.format)
    (folder / made.folder).mkdir()
    for split, (rows, parts) in made.splits.items():
        for part, name in enumerate(made.parts(split, parts)):
            numbers = range(part * rows // parts, (part + 1) * rows // parts)
            columns: dict[str, Any] = {
                made.image: [{"bytes": next(pictures), "path": f"{split}_{number}"} for number in numbers],
                "label": [-1 if split == made.withheld else number * 7 % len(made.names) for number in numbers],
                **{extra: [f"{split}_{number}" for number in numbers] for extra in made.extra},
            }
            pq.write_table(pa.table(columns).replace_schema_metadata(metadata), folder / name)
    (folder / "README.md").write_text(_card(repo_id, made))


def _features(made: Pictures) -> dict[str, Any]:
    text = {extra: {"dtype": "string", "_type": "Value"} for extra in made.extra}
    return {made.image: {"_type": "Image"}, "label": {"names": list(made.names), "_type": "ClassLabel"}, **text}


def _card(repo_id: str, made: Pictures) -> str:
    """README.md, whose head says which split has which files, and what the columns are."""
    import yaml

    names = {str(number): name for number, name in enumerate(made.names)}
    features: list[dict[str, Any]] = [
        {"name": made.image, "dtype": "image"},
        {"name": "label", "dtype": {"class_label": {"names": names}}},
        *({"name": extra, "dtype": "string"} for extra in made.extra),
    ]
    splits = [{"name": name, "num_bytes": 1, "num_examples": rows} for name, (rows, _) in made.splits.items()]
    files = [{"split": name, "path": f"{made.folder}/{name}-*"} for name in made.splits]
    head = {
        "dataset_info": {
            "config_name": made.config,
            "features": features,
            "splits": splits,
            "download_size": 1,
            "dataset_size": 1,
        },
        "configs": [{"config_name": made.config, "data_files": files}],
    }
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n# {repo_id}\n"


def _encoded(format_: str) -> Iterator[bytes]:
    """Pictures without end, no two alike."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits, load_sample_images

    photographs, digits, chance = load_sample_images().images, load_digits().images, np.random.default_rng(0)
    while True:
        for photograph in photographs:
            top, left = (int(chance.integers(0, side - 96)) for side in photograph.shape[:2])
            yield _file(Image.fromarray(photograph[top : top + 96, left : left + 80]), format_)
        digit = digits[chance.integers(len(digits))]
        yield _file(Image.fromarray((digit * 15.9).astype("uint8")).resize((64, 64)), format_)


def _file(image: Any, format_: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=format_)
    return buffer.getvalue()
