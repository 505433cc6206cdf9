"""Datasets in shards: the same bytes as the loose files, the same training, and what is said of damaged shards."""

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from faceparse.core.checking.check import check_dataset
from faceparse.core.checking.remap import remap_labels
from faceparse.core.datasets.edges import EdgesReport, update_edges
from faceparse.core.datasets.helen import Helen
from faceparse.core.datasets.layout import SPLITS, DatasetFolder, fingerprint, listing_hash, name_within
from faceparse.core.datasets.pack import PackReport, pack
from faceparse.core.datasets.prepare import prepare
from faceparse.core.datasets.shard_index import INDEX, read_index
from faceparse.core.errors import DatasetError, OutputError, SettingsError
from faceparse.core.faces.alignment import make_alignment
from faceparse.core.files.packed import Packed
from faceparse.core.files.reading import read_bytes
from faceparse.core.images.encoding import encode_png
from faceparse.core.images.matrices import read_matrix
from faceparse.core.images.opening import read_size
from faceparse.core.images.read_label import read_label
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.parser.checkpoint_file import read_checkpoint
from faceparse.core.sampling.samples import TrainingSet
from faceparse.core.settings import DataSettings, Settings
from faceparse.core.training.run import resume, train
from tests import raw
from tests.conftest import Silent

SMALL = 30_000
"""Bytes in a shard: a few of the drawn faces."""


@pytest.fixture(params=["webdataset", "parquet"])
def kind(request: pytest.FixtureRequest) -> str:
    """Kind of the shards."""
    if request.param == "parquet":
        pytest.importorskip("pyarrow")
    return str(request.param)


@pytest.fixture
def shards(faces: Path, tmp_path: Path, kind: str) -> Path:
    """`faces` in several shards."""
    pack(faces, tmp_path / "shards", to=kind, shard_bytes=SMALL)
    return tmp_path / "shards"


def first(shards: Path) -> Path:
    return min(path for path in shards.iterdir() if path.name.startswith("train-00000"))


def test_every_file_is_read_as_from_files_of_its_own(faces: Path, shards: Path) -> None:
    assert len(list(shards.glob("train-*"))) > 1
    assert not (shards / "images").exists()
    for split in SPLITS:
        loose, packed = DatasetFolder(faces).samples(split), DatasetFolder(shards).samples(split)
        assert [one.id for one in packed] == [one.id for one in loose]
        for one, other in zip(packed, loose, strict=True):
            assert isinstance(one.image, Packed)
            assert name_within(shards, one.image) == name_within(faces, other.image)
            assert read_bytes(one.image) == read_bytes(other.image)
            assert read_bytes(one.label) == read_bytes(other.label)
            assert np.array_equal(read_label(one.edge), read_label(other.edge))
            assert read_size(one.label) == read_size(other.label)
            assert not one.project.is_file()
    assert fingerprint(shards) == fingerprint(faces)
    assert listing_hash(DatasetFolder(shards).samples("train")) == listing_hash(DatasetFolder(faces).samples("train"))


def test_others_read_the_tar(faces: Path, tmp_path: Path) -> None:
    pack(faces, tmp_path / "shards", to="webdataset")
    with tarfile.open(tmp_path / "shards" / "val-00000.tar") as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    keys = sorted({name.partition(".")[0] for name in members})
    assert len(keys) == 2
    for key, sample in zip(keys, DatasetFolder(faces).samples("val"), strict=True):
        assert members[f"{key}.jpg"] == read_bytes(sample.image)
        assert members[f"{key}.png"] == read_bytes(sample.label)
        assert members[f"{key}.edge.png"] == read_bytes(sample.edge)
        assert json.loads(members[f"{key}.json"])["id"] == sample.id


def test_the_library_webdataset_reads_the_tar(faces: Path, tmp_path: Path) -> None:
    library = pytest.importorskip("webdataset")
    pack(faces, tmp_path / "shards", to="webdataset")
    read = list(library.WebDataset(str(tmp_path / "shards" / "val-00000.tar"), shardshuffle=False))
    for row, sample in zip(read, DatasetFolder(faces).samples("val"), strict=True):
        assert (row["jpg"], row["png"]) == (read_bytes(sample.image), read_bytes(sample.label))
        assert json.loads(row["json"])["id"] == sample.id


def test_others_read_the_parquet(faces: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    pack(faces, tmp_path / "shards", to="parquet")
    rows = parquet.read_table(tmp_path / "shards" / "val-00000.parquet").to_pylist()
    for row, sample in zip(rows, DatasetFolder(faces).samples("val"), strict=True):
        assert (row["id"], row["label_raw"]) == (sample.id, None)
        assert row["image"] == read_bytes(sample.image)
        assert row["edge"] == read_bytes(sample.edge)


def test_aligned_faces_keep_the_way_to_the_original(tmp_path: Path, kind: str) -> None:
    loose = tmp_path / "helen"
    alignment = make_alignment("auto", size=64, template="farl", on_missing="identity")
    prepare(Helen(raw.make_helen(tmp_path / "raw")), loose, alignment=alignment)
    pack(loose, tmp_path / "shards", to=kind, processes=2)
    samples = DatasetFolder(loose).samples("test"), DatasetFolder(tmp_path / "shards").samples("test")
    for one, other in zip(*samples, strict=True):
        assert isinstance(other.project, Packed)
        assert np.array_equal(read_matrix(one.project), read_matrix(other.project))
        assert np.array_equal(read_label(one.label_raw), read_label(other.label_raw))


def test_shards_are_packed_again_as_another_kind(faces: Path, shards: Path, tmp_path: Path) -> None:
    report = pack(shards, tmp_path / "again", to="webdataset")
    assert report == PackReport({"train": 12, "val": 2, "test": 2}, 3)
    pack(faces, tmp_path / "direct", to="webdataset")
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "direct").iterdir()
    }


def test_crops_are_the_same_in_every_epoch(faces: Path, shards: Path) -> None:
    loose, packed = (
        TrainingSet(
            DatasetFolder(root).samples("train"),
            get_label_set("helen"),
            DataSettings(root=root, input_size=(64, 64)),
            seed=3,
        )
        for root in (faces, shards)
    )
    for epoch in (1, 2):
        for index in range(len(loose)):
            for one, other in zip(loose[epoch, index][0], packed[epoch, index][0], strict=True):
                assert np.array_equal(one, other)


class Stopping(Silent):
    """Presses Ctrl-C after the first epoch."""

    def epoch_finished(self, *_: object, **__: object) -> None:
        raise KeyboardInterrupt


def test_a_run_has_the_same_weights_even_if_it_was_interrupted(
    tiny: Callable[..., Settings], shards: Path, tmp_path: Path
) -> None:
    options = {"train__epochs": 2, "tracking__enabled": False}
    weights = []
    for name, root in (("loose", {}), ("packed", {"data__root": shards})):
        result = train(tiny(train__run_dir=tmp_path / name, **options, **root), Silent())
        weights.append(read_checkpoint(result.run_dir / "last.pth").weights)
    with pytest.raises(KeyboardInterrupt):
        train(tiny(train__run_dir=tmp_path / "stopped", data__root=shards, **options), Stopping())
    resume(tmp_path / "stopped", Silent())
    weights.append(read_checkpoint(tmp_path / "stopped" / "last.pth").weights)
    for name, expected in weights[0].items():
        assert all(other[name].equal(expected) for other in weights[1:]), name


def test_check_and_edges_take_shards(faces: Path, shards: Path) -> None:
    loose, packed = check_dataset(faces), check_dataset(shards)
    assert packed.problems == loose.problems
    assert (packed.splits, packed.classes, packed.sizes) == (loose.splits, loose.classes, loose.sizes)
    before = sorted(path.name for path in shards.iterdir())
    assert update_edges(shards, force=True) == EdgesReport(made=0, fresh=16)
    assert sorted(path.name for path in shards.iterdir()) == before
    with pytest.raises(DatasetError, match="shards are not rewritten"):
        remap_labels(shards)


def test_a_shard_cut_short_is_named(shards: Path, kind: str) -> None:
    shard = first(shards)
    size = shard.stat().st_size
    with shard.open("r+b") as file:
        file.truncate(size - 100)
    what = f"cut short: {size - 100} of {size} bytes" if kind == "webdataset" else "not a whole Parquet file"
    with pytest.raises(DatasetError, match=f"{shard.name}: {what}"):
        DatasetFolder(shards).samples("train")


def test_a_changed_byte_is_noticed_when_it_is_read(shards: Path) -> None:
    sample = DatasetFolder(shards).samples("train")[0]
    assert isinstance(sample.image, Packed)
    with sample.image.shard.open("r+b") as file:
        file.seek(sample.image.offset + sample.image.size // 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(DatasetError, match=r"images/.*: not the bytes that were packed"):
        read_bytes(sample.image)
    (problem,) = check_dataset(shards).problems
    assert "not the bytes that were packed" in problem


def test_what_is_missing_is_named(shards: Path) -> None:
    shard = first(shards)
    shard.rename(shards / "elsewhere")
    with pytest.raises(DatasetError, match=f"{shard.name}: missing"):
        DatasetFolder(shards).samples("train")
    (shards / "elsewhere").rename(shard)
    (shards / "val_list.txt").write_text("images/other.jpg labels/other.png\n")
    with pytest.raises(DatasetError, match=f"val_list.txt:1: images/other.jpg is not in {INDEX}"):
        DatasetFolder(shards).samples("val")
    (shards / INDEX).unlink()
    with pytest.raises(DatasetError, match=f"{INDEX}: missing"):
        DatasetFolder(shards).samples("train")


@pytest.mark.parametrize("spoil", ["column", "nulls"])
def test_a_parquet_file_of_another_shape_is_named(faces: Path, tmp_path: Path, spoil: str) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    shards = tmp_path / "shards"
    pack(faces, shards, to="parquet")
    shard = first(shards)
    table = parquet.read_table(shard)
    rows, schema = table.to_pylist(), arrow.schema([field.with_nullable(True) for field in table.schema])
    table = arrow.Table.from_pylist([{**row, "label": None} if n == 3 else row for n, row in enumerate(rows)], schema)
    parquet.write_table(table.drop_columns(["edge"]) if spoil == "column" else table, shard)
    what = "has no column 'edge'" if spoil == "column" else "column 'label' has nulls"
    with pytest.raises(DatasetError, match=f"{shard.name}: {what}"):
        DatasetFolder(shards).samples("train")


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{", "shards.jsonl:1"),
        ('{"shard": "../x.tar", "size": 9, "files": {}}', "is not the name of a shard"),
        ('{"shard": "a/x.tar", "size": 9, "files": {}}', "is not the name of a shard"),
        ('{"shard": "/etc/passwd", "size": 9, "files": {}}', "is not the name of a shard"),
        ('{"shard": "x.tar", "size": 9, "files": {"images/a.jpg": [-1, 2, 3]}}', "does not lie in x.tar"),
        ('{"shard": "x.tar", "size": 9, "files": {"images/a.jpg": [5, 5, 3]}}', "does not lie in x.tar"),
        ('{"shard": "x.tar", "size": 9, "files": {"images/a.jpg": [5, 3]}}', "shards.jsonl:1"),
        ('{"shard": "x.tar", "size": 9, "files": {}}', "x.tar: missing"),
        ("", "names no files"),
    ],
)
def test_a_bad_index_is_refused(tmp_path: Path, line: str, what: str) -> None:
    (tmp_path / INDEX).write_text(line)
    with pytest.raises(DatasetError, match=what) as caught:
        read_index(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_loose_dataset_has_no_index(faces: Path, own_faces: Path) -> None:
    assert read_index(faces) == {}
    (own_faces / "train-00000.tar").write_bytes(b"a backup of the user's own")
    assert DatasetFolder(own_faces).samples("train")


def test_nothing_is_written_where_the_dataset_or_the_place_is_wrong(own_faces: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(SettingsError, match="'tar': not one of webdataset, parquet"):
        pack(own_faces, out, to="tar")
    edge = DatasetFolder(own_faces).samples("train")[0].edge
    assert isinstance(edge, Path)
    edge.write_bytes(encode_png(np.zeros((72, 72), np.uint8)))
    with pytest.raises(DatasetError, match="not the edge map of its label"):
        pack(own_faces, out, to="webdataset")
    assert not out.exists()
    shutil.rmtree(own_faces / "edges")
    pack(own_faces, out, to="webdataset")
    with pytest.raises(OutputError, match="it holds other files"):
        pack(own_faces, out, to="webdataset")
