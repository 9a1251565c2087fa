"""Digits, image folders and Parquet files; all local."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from greenray.config.refs import DatasetRef
from greenray.errors import Refused, ResourceError
from greenray.tasks.image_classification import data


def local(path: Path, **fields: object) -> DatasetRef:
    return DatasetRef.model_validate({"id": f"./{path.name}", "path": str(path), **fields})


def picture(value: int, *, mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (12, 10), value if mode == "L" else (value, 0, 255 - value))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, value in (("cats", 10), ("dogs", 200)):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(10):
            picture(value + number).save(tmp_path / "pets" / name / f"{number}.png")
    return tmp_path / "pets"


class TestDigits:
    def test_the_split_is_stratified_disjoint_and_always_the_same(self) -> None:
        train, test = (data.load(DatasetRef(id="digits"), purpose=purpose) for purpose in ("train", "test"))
        assert (len(train), len(test)) == (1437, 360)
        counts = np.bincount(test.labels)
        assert counts.min() >= 34
        assert counts.max() <= 37
        pixels = [{np.asarray(part.items[i]).tobytes() for i in range(len(part))} for part in (train, test)]
        assert not pixels[0] & pixels[1]
        assert test.labels[:12] == data.load(DatasetRef(id="digits"), purpose="test").labels[:12]
        assert test.items[0].mode == "L"
        assert test.label_names == tuple("0123456789")

    def test_grey_levels_use_the_whole_range(self) -> None:
        test = data.load(DatasetRef(id="digits", samples=20), purpose="test")
        values = np.stack([np.asarray(test.items[i]) for i in range(len(test))])
        assert (len(test), values.min(), values.max()) == (20, 0, 255)

    def test_a_smaller_sample_is_part_of_the_larger(self) -> None:
        small, large = (data.load(DatasetRef(id="digits", samples=n), purpose="test").labels for n in (20, 50))
        assert large[:20] == small

    def test_other_splits_do_not_exist(self) -> None:
        with pytest.raises(ResourceError, match="train and test, not 'dev'"):
            data.check(DatasetRef(id="digits", split="dev"))


class TestImageFolder:
    def test_folders_are_classes_and_an_only_split_is_divided(self, folder: Path) -> None:
        data.check(local(folder))
        train, test = (data.load(local(folder), purpose=purpose) for purpose in ("train", "test"))
        assert (len(train), len(test)) == (16, 4)
        assert test.label_names == ("cats", "dogs")
        assert sorted(test.labels) == [0, 0, 1, 1]
        assert test.split == "train (20 % of it)"
        reds = {np.asarray(part.items[i])[0, 0, 0] for part in (train, test) for i in range(len(part))}
        assert len(reds) == 20
        assert all((np.asarray(test.items[i])[0, 0, 0] >= 200) == bool(test.labels[i]) for i in range(4))

    def test_a_declared_split_is_taken_whole(self, folder: Path) -> None:
        assert len(data.load(local(folder, split="train"), purpose="test")) == 20
        assert len(data.load(local(folder, split="train", samples=7), purpose="test")) == 7
        with pytest.raises(Refused, match=r"no split 'test'; it has train"):
            data.load(local(folder, split="test"), purpose="test")

    def test_a_split_called_test_is_found(self, folder: Path) -> None:
        for split, source in (("train", "cats"), ("test", "dogs")):
            for name in ("cats", "dogs"):
                (folder / "both" / split / name).mkdir(parents=True)
                picture(5).save(folder / "both" / split / name / f"{source}.png")
        test = data.load(local(folder / "both"), purpose="test")
        assert (test.split, len(test)) == ("test", 2)


def write_parquet(path: Path, columns: dict[str, list[object]]) -> DatasetRef:
    pq.write_table(pa.table(columns), path)
    return local(path)


def encoded(value: int) -> bytes:
    file = io.BytesIO()
    picture(value, mode="L").save(file, format="PNG")
    return file.getvalue()


class TestParquet:
    @pytest.mark.parametrize(("image", "label"), [("image", "label"), ("img", "labels"), ("photo", "target")])
    def test_columns_are_found_and_bytes_decoded(self, image: str, label: str, tmp_path: Path) -> None:
        rows = [{"bytes": encoded(value), "path": None} for value in range(10)]
        ref = write_parquet(tmp_path / "x.parquet", {"id": list(range(10)), image: rows, label: [v % 2 for v in range(10)]})
        data.check(ref)
        found = data.load(ref.model_copy(update={"split": "train"}), purpose="test")
        assert len(found) == 10
        assert found.items[0].mode == "L"
        assert found.label_names == ("0", "1")
        assert all(np.asarray(found.items[i])[0, 0] % 2 == found.labels[i] for i in range(10))

    def test_text_labels_and_plain_bytes(self, tmp_path: Path) -> None:
        names = ["dog", "cat"] * 5
        ref = write_parquet(tmp_path / "x.parquet", {"image": [encoded(v) for v in range(10)], "label": names})
        found = data.load(ref.model_copy(update={"split": "train"}), purpose="test")
        assert found.label_names == ("cat", "dog")
        assert sorted(found.labels) == [0] * 5 + [1] * 5

    def test_withheld_labels_are_left_out(self, tmp_path: Path) -> None:
        ref = write_parquet(tmp_path / "x.parquet", {"image": [encoded(v) for v in range(4)], "label": [0, -1, 1, None]})
        assert len(data.load(ref.model_copy(update={"split": "train"}), purpose="test")) == 2

    def test_missing_columns_are_named(self, tmp_path: Path) -> None:
        ref = write_parquet(tmp_path / "x.parquet", {"image": [encoded(0)], "caption": ["a"]})
        with pytest.raises(Refused, match=r"like a label; its columns are image, caption"):
            data.load(ref.model_copy(update={"split": "train"}), purpose="test")

    def test_a_broken_file_is_one_sentence(self, tmp_path: Path) -> None:
        (tmp_path / "x.parquet").write_bytes(b"no parquet at all")
        with pytest.raises(ResourceError, match="cannot be"):
            data.load(local(tmp_path / "x.parquet"), purpose="test")


def test_what_is_not_there_or_no_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="there is no such file or folder"):
        data.check(local(tmp_path / "nowhere"))
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ResourceError, match="neither a Parquet file nor a folder"):
        data.check(local(tmp_path))
