"""Labelled images: digits, hub datasets, local image folders and Parquet files; PIL images of any mode and size."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from greenray.config.refs import DatasetRef
from greenray.config.settings import is_path
from greenray.errors import Refused, ResourceError, first_line
from greenray.tasks import hub, hub_datasets
from greenray.tasks.labelled import Labelled, Purpose, draw, holdout

if TYPE_CHECKING:
    import numpy as np

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})
_IMAGE_NAMES = ("image", "img", "images", "picture", "photo", "pixel_values")
_LABEL_NAMES = ("label", "labels", "fine_label", "target", "targets", "class", "category", "y")
_TEST_NAMES = ("test", "validation", "valid", "val", "dev", "eval")


def check(ref: DatasetRef) -> None:
    """Pass if the dataset is there, else raise ResourceError with what to do; imports neither torch nor datasets."""
    if ref.id == "digits":
        if ref.split not in (None, "train", "test"):
            raise ResourceError(f"digits has the splits train and test, not {ref.split!r}.")
    elif is_path(ref.id):
        _local_kind(_local_path(ref))
    else:
        hub.check_dataset(ref.id, revision=ref.revision)


def load(ref: DatasetRef, *, purpose: Purpose) -> Labelled:
    """The images that `ref` names: for `test` those to measure and evaluate on, for `train` those to learn from.

    `ref.split` names the split of the purpose `test`, or for `train` the split to learn from; `ref.samples` takes that many,
    drawn with a fixed seed because files are often sorted by class.

    Raises ResourceError if the dataset is missing or cannot be read, Refused if its split or its columns are missing.
    """
    found = _digits(ref, purpose) if ref.id == "digits" else _from_datasets(ref, purpose)
    if not len(found):
        raise Refused(f"dataset {ref.id}: the split {found.split} has no labelled images.")
    return found


def _digits(ref: DatasetRef, purpose: Purpose) -> Labelled:
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    bunch = load_digits()
    labels = np.asarray(bunch.target)
    split: Purpose = "train" if (ref.split or purpose) == "train" else "test"
    chosen = draw(holdout(labels)[split], samples=ref.samples)
    # 17 grey levels, stretched to 8 bits.
    pixels = np.round(np.asarray(bunch.images)[chosen] * (255 / 16)).astype(np.uint8)
    return Labelled(
        items=[Image.fromarray(image) for image in pixels],
        labels=tuple(int(label) for label in labels[chosen]),
        label_names=tuple(str(name) for name in bunch.target_names),
        split=split,
    )


def _from_datasets(ref: DatasetRef, purpose: Purpose) -> Labelled:
    import numpy as np

    local = is_path(ref.id)
    split, divided, rows = (_local_split if local else _hub_split)(ref, purpose)
    commit = None if local else hub_datasets.commit_of(rows)
    rows, image, label = _columns(rows, ref)
    labels, names = _labels(rows, label)
    keep = np.flatnonzero(labels >= 0)  # hub datasets mark withheld labels with -1
    if divided:
        keep = keep[holdout(labels[keep])[purpose]]
    keep = draw(keep, samples=ref.samples)
    return Labelled(
        items=rows.select(keep)[image],  # decodes one image an access
        labels=tuple(int(value) for value in labels[keep]),
        label_names=names,
        split=f"{split} ({'80' if purpose == 'train' else '20'} % of it)" if divided else split,
        commit=commit,
    )


def _hub_split(ref: DatasetRef, purpose: Purpose) -> tuple[str, bool, Any]:
    """The split for a purpose, whether it has to be divided because there is no other, and its rows."""
    # What is learnt from depends on which others there are; that there is a test split is enough to know.
    enough = {ref.split or _TEST_NAMES[0]} if purpose == "test" else {ref.split or "train", _TEST_NAMES[0]}
    split, divided = _choose_split(ref, hub_datasets.split_names(ref.id, revision=ref.revision, enough=enough), purpose)
    return split, divided, hub_datasets.load_split(ref.id, revision=ref.revision, split=split)


def _local_split(ref: DatasetRef, purpose: Purpose) -> tuple[str, bool, Any]:
    """As `_hub_split`, of a folder or file."""
    import datasets

    datasets.disable_progress_bars()
    path = _local_path(ref)
    source, files = _local_kind(path), {"data_files" if path.is_file() else "data_dir": str(path)}
    with _or_say(f"dataset {ref.id}: its splits cannot be read"):
        splits = [str(name) for name in datasets.get_dataset_split_names(source, **files)]
    split, divided = _choose_split(ref, splits, purpose)
    with _or_say(f"dataset {ref.id}: the split {split} cannot be loaded"):
        return split, divided, datasets.load_dataset(source, split=split, **files)


def _local_path(ref: DatasetRef) -> Path:
    return Path(ref.path or ref.id).expanduser()


def _local_kind(path: Path) -> Literal["imagefolder", "parquet"]:
    """What lies at a local path; looks no further than it must."""
    if path.is_file() and path.suffix == ".parquet":
        return "parquet"
    if not path.exists():
        raise ResourceError(f"dataset {path}: there is no such file or folder.")
    if path.is_dir():
        for file in path.rglob("*"):
            if file.suffix == ".parquet":
                return "parquet"
            if file.suffix.lower() in IMAGE_SUFFIXES:
                return "imagefolder"
    raise ResourceError(f"dataset {path}: neither a Parquet file nor a folder that holds images or Parquet files.")


def _choose_split(ref: DatasetRef, splits: list[str], purpose: Purpose) -> tuple[str, bool]:
    """The split to load, and whether it has to be divided because there is no other."""
    if ref.split is not None and ref.split not in splits:
        raise Refused(f"dataset {ref.id} has no split {ref.split!r}; it has {', '.join(splits)}.")
    evaluation = next((name for name in _TEST_NAMES if name in splits), None)
    if purpose == "test":
        found = ref.split or evaluation
        return (found, False) if found else (splits[0], splits == ["train"])
    train = ref.split or ("train" if "train" in splits else None)
    if train is None or train == evaluation:
        raise Refused(f"dataset {ref.id} has no split to train on; it has {', '.join(splits)}.")
    return train, evaluation is None


def _columns(rows: Any, ref: DatasetRef) -> tuple[Any, str, str]:
    """The rows with their image column decodable, and the names of the image and label columns."""
    import datasets

    features = rows.features
    typed = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    named = [name for name in _IMAGE_NAMES if name in features]
    image = next(iter([name for name in named if name in typed] + typed + named), None)
    classes = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    label = next(iter([name for name in _LABEL_NAMES if name in features] + classes), None)
    if image is None or label is None:
        missing = "an image" if image is None else "a label"
        raise Refused(f"dataset {ref.id} has no column that looks like {missing}; its columns are {', '.join(features)}.")
    if image not in typed:
        with _or_say(f"dataset {ref.id}: column {image} holds no encoded images"):
            rows = rows.cast_column(image, datasets.Image())
    return rows, image, label


def _labels(rows: Any, column: str) -> tuple["np.ndarray[Any, Any]", tuple[str, ...]]:
    """Labels as indices, shape (rows,), and the names behind the indices; a missing label is -1."""
    import numpy as np

    values = rows.with_format(None)[column][:]
    names = getattr(rows.features[column], "names", None)
    if names is None and not all(isinstance(value, int) for value in values if value is not None):
        names = sorted({str(value) for value in values if value is not None})
        values = [names.index(str(value)) if value is not None else None for value in values]
    labels = np.asarray([-1 if value is None else int(value) for value in values], dtype=np.int64)
    if names is None:
        names = [str(index) for index in range(int(labels.max(initial=-1)) + 1)]
    return labels, tuple(str(name) for name in names)


@contextmanager
def _or_say(sentence: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise ResourceError(f"{sentence}: {first_line(error, longest=300)}") from error
