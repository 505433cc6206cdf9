import errno
import hashlib
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from faceparse.core.api import FaceParser
from faceparse.core.datasets.folder import Folder
from faceparse.core.datasets.prepare import prepare
from faceparse.core.errors import DatasetError, FaceparseError, OutputError
from faceparse.core.images.read_label import read_label
from faceparse.core.images.read_photograph import read_image
from faceparse.core.labelling import labelling as module
from faceparse.core.labelling.label_folder import Photograph
from faceparse.core.labelling.labelling import ChangedError, Labelling, Opened, Saved
from faceparse.core.labelling.record import read_record


def until(true: Callable[[], bool]) -> None:
    for _ in range(600):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("it never came true")


def painted(guess: np.ndarray, pixels: int = 7) -> np.ndarray:
    """A label that differs from the guess in so many pixels, one of them ignored."""
    label = guess.copy()
    label.flat[:pixels] = (label.flat[:pixels] + 1) % 11
    label.flat[0] = 255
    return label


def save(labelling: Labelling, photograph: Photograph, label: np.ndarray, opened: Opened, **changes: Any) -> Saved:
    given = {"version": opened.version, "base": opened.base, "seconds": 5} | changes
    return labelling.save(photograph, zlib.compress(label.tobytes()), **given)


def test_guesses_come_in_the_background_and_say_how_sure_they_are(
    labelling: Labelling, photos: Path, parser: FaceParser
) -> None:
    until(lambda: all(state.uncertainty is not None for state in labelling.states.values()))
    for photograph in labelling.photographs:
        result = parser.predict(read_image(photograph.path))
        assert np.array_equal(read_label(photograph.guess), result.labels)
        assert labelling.states[photograph.key].uncertainty == pytest.approx(result.uncertainty)
    assert len({state.uncertainty for state in labelling.states.values()}) == 3
    assert not list((photos / "labels").iterdir())


def test_a_label_is_saved_beside_the_untouched_guess(labelling: Labelling, photos: Path) -> None:
    photograph = labelling.photographs[1]
    opened = labelling.open(photograph)
    assert opened.label is None
    before = photograph.guess.read_bytes()
    label = painted(opened.guess)
    saved = save(labelling, photograph, label, opened)
    assert np.array_equal(read_label(photos / "labels" / "bert.png"), label)
    assert photograph.guess.read_bytes() == before
    assert saved.row[:3] == (2400, 7, 5)
    again = labelling.open(photograph)
    assert again.label is not None
    assert np.array_equal(again.label, label)
    assert again.base == saved.base == hashlib.sha256(photograph.label.read_bytes()).hexdigest()
    assert save(labelling, photograph, again.guess, again).row[:3] == (2400, 0, 10)
    assert read_record(photos / "labels.csv") == {"bert.png": labelling.row(photograph)}


def test_what_was_labelled_stays_when_it_is_started_again(photos: Path, parser: FaceParser) -> None:
    """Another model does not touch the guess that a label was made from, and makes the others anew."""
    with Labelling(photos, parser) as labelling:
        anna, bert, _ = labelling.photographs
        opened = labelling.open(anna)
        labelling.open(bert)
        row = save(labelling, anna, painted(opened.guess), opened).row
    for photograph in (anna, bert):
        Image.fromarray((read_label(photograph.guess) + 1) % 11).save(photograph.guess)
    other = anna.guess.read_bytes(), bert.guess.read_bytes()
    with Labelling(photos, parser) as labelling:
        until(lambda: labelling.states[bert.key].uncertainty is not None)
        assert labelling.row(anna) == row
        assert anna.guess.read_bytes() == other[0]
        assert bert.guess.read_bytes() != other[1]


def test_a_label_from_elsewhere_is_opened_and_counted(photos: Path, parser: FaceParser) -> None:
    (photos / "labels").mkdir()
    label = np.full((40, 60), 3, np.uint8)
    Image.fromarray(label).save(photos / "labels" / "cleo.png")
    with Labelling(photos, parser) as labelling:
        photograph = labelling.photographs[2]
        until(lambda: labelling.row(photograph) is not None)
        opened = labelling.open(photograph)
        assert opened.label is not None
        assert np.array_equal(opened.label, label)
        row = labelling.row(photograph)
        assert row is not None
        assert row[:3] == (2400, (opened.guess != 3).sum(), 0)


def test_a_label_that_was_changed_elsewhere_is_counted_again(photos: Path, parser: FaceParser) -> None:
    with Labelling(photos, parser) as labelling:
        photograph = labelling.photographs[0]
        opened = labelling.open(photograph)
        save(labelling, photograph, opened.guess, opened)
    Image.fromarray(painted(opened.guess, 9)).save(photograph.label)
    with Labelling(photos, parser) as labelling:
        until(lambda: labelling.row(photograph) is not None and labelling.row(photograph).corrected == 9)  # type: ignore[union-attr]
        assert labelling.row(photograph).seconds == 5  # type: ignore[union-attr]


def test_nobody_elses_work_is_replaced_unasked(labelling: Labelling) -> None:
    photograph = labelling.photographs[0]
    first = labelling.open(photograph)
    saved = save(labelling, photograph, painted(first.guess), first)
    with pytest.raises(ChangedError, match="was changed elsewhere since it was opened; save again to") as caught:
        save(labelling, photograph, first.guess, first)
    assert np.array_equal(read_label(photograph.label), painted(first.guess))
    assert caught.value.base == saved.base
    save(labelling, photograph, first.guess, first, base=caught.value.base)
    assert np.array_equal(read_label(photograph.label), first.guess)


def test_a_save_whose_answer_was_lost_may_come_again(labelling: Labelling) -> None:
    photograph = labelling.photographs[0]
    opened = labelling.open(photograph)
    first = save(labelling, photograph, painted(opened.guess), opened)
    assert save(labelling, photograph, painted(opened.guess), opened, seconds=0) == first


def test_a_label_of_another_photograph_or_other_classes_is_refused(labelling: Labelling, photos: Path) -> None:
    photograph = labelling.photographs[0]
    opened = labelling.open(photograph)
    (photos / "anna.png").write_bytes((photos / "bert.png").read_bytes())
    with pytest.raises(ChangedError, match=r"^anna\.png: the photograph or the classes have changed; open it again$"):
        save(labelling, photograph, opened.guess, opened)
    assert not photograph.label.exists()


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (b"no deflate", r"^anna\.png: the label did not arrive whole \("),
        (zlib.compress(bytes(2400))[:-5], "the label is not 60 x 40 pixels; open it again"),
        (zlib.compress(bytes(2399)), "the label is not 60 x 40 pixels"),
        (zlib.compress(bytes(10**8)), "the label is not 60 x 40 pixels"),
        (zlib.compress(bytes([11]) * 2400), r"anna\.png: value 11 is not one of the 11 classes of helen"),
    ],
    ids=["rubbish", "cut short", "too few", "a bomb", "no class"],
)
def test_ids_that_do_not_fit_are_refused(labelling: Labelling, packed: bytes, message: str) -> None:
    photograph = labelling.photographs[0]
    opened = labelling.open(photograph)
    with pytest.raises(DatasetError, match=message):
        labelling.save(photograph, packed, version=opened.version, base="")
    assert not photograph.label.exists()


def test_a_broken_photograph_is_a_line_and_the_others_go_on(photos: Path, parser: FaceParser) -> None:
    (photos / "anna.png").write_bytes(b"no picture")
    with Labelling(photos, parser) as labelling:
        anna, _, cleo = labelling.photographs
        until(lambda: labelling.states[cleo.key].uncertainty is not None)
        assert "anna.png: not a readable picture" in labelling.states[anna.key].problem
        with pytest.raises(DatasetError, match="not a readable picture"):
            labelling.open(anna)


def test_a_vast_photograph_is_refused_before_it_is_decoded(
    labelling: Labelling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_PIXELS", 2399)
    monkeypatch.setattr(module, "decode_picture", None)
    with pytest.raises(DatasetError, match=r"^anna\.png: 0 megapixels, and a browser labels at most 0; make"):
        labelling.picture(labelling.photographs[0])


def test_a_model_that_fails_is_a_line(photos: Path, parser: FaceParser, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_picture: object) -> None:
        raise RuntimeError("CUDA out of memory\nand more")

    monkeypatch.setattr(parser, "predict", fail)
    with (
        Labelling(photos, parser) as labelling,
        pytest.raises(FaceparseError, match=r"^anna\.png: the model failed: CUDA out of memory; try again$"),
    ):
        labelling.open(labelling.photographs[0])


def test_a_full_disk_changes_nothing_and_is_said(labelling: Labelling, monkeypatch: pytest.MonkeyPatch) -> None:
    photograph = labelling.photographs[0]
    opened = labelling.open(photograph)
    saved = save(labelling, photograph, painted(opened.guess), opened)
    before = photograph.label.read_bytes()

    def full(path: Path, _data: bytes) -> None:
        raise OutputError(f"cannot write {path}: No space left on device; free space or choose another place")

    monkeypatch.setattr(module, "write_atomic", full)
    with pytest.raises(OutputError, match="No space left on device"):
        save(labelling, photograph, opened.guess, opened, base=saved.base)
    assert photograph.label.read_bytes() == before
    assert labelling.row(photograph) == saved.row


def test_a_record_that_cannot_be_written_does_not_lose_the_label(
    labelling: Labelling, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, _rows: object) -> None:
        raise OutputError(f"cannot write {path}: {errno.errorcode[errno.ENOSPC]}")

    monkeypatch.setattr(module, "write_record", full)
    photograph = labelling.photographs[0]
    opened = labelling.open(photograph)
    saved = save(labelling, photograph, painted(opened.guess), opened)
    assert saved.notice.endswith("labels.csv: ENOSPC")
    assert np.array_equal(read_label(photograph.label), painted(opened.guess))


def test_background_work_stops_at_a_full_disk(
    photos: Path, parser: FaceParser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, _data: bytes) -> None:
        raise OutputError(f"cannot write {path}: No space left on device; free space or choose another place")

    monkeypatch.setattr(module, "write_atomic", full)
    with Labelling(photos, parser) as labelling:
        until(lambda: bool(labelling.notes))
        assert len(labelling.notes) == 1
        assert "guesses/anna.png: No space left on device" in labelling.notes[0]
        assert not any(state.problem for state in labelling.states.values())


def test_links_out_of_the_folder_are_refused(photos: Path, parser: FaceParser, tmp_path: Path) -> None:
    mine = tmp_path / "mine.png"
    mine.write_bytes(b"mine")
    (photos / "labels").mkdir()
    with Labelling(photos, parser) as labelling:
        photograph = labelling.photographs[0]
        opened = labelling.open(photograph)
        photograph.label.symlink_to(mine)
        with pytest.raises(OutputError, match="a link leads to .*mine.png, outside"):
            save(labelling, photograph, opened.guess, opened, base=hashlib.sha256(b"mine").hexdigest())
    assert mine.read_bytes() == b"mine"
    photograph.label.unlink()
    (photos / "labels").rmdir()
    (photos / "labels").symlink_to(tmp_path)
    with pytest.raises(OutputError, match=r"labels: a link leads to "), Labelling(photos, parser):
        pass


def test_one_process_labels_a_folder(labelling: Labelling, photos: Path, parser: FaceParser) -> None:
    with pytest.raises(OutputError, match="labels: another process is writing to it"), Labelling(photos, parser):
        pass


def test_a_folder_that_cannot_be_written_is_refused_at_once(photos: Path, parser: FaceParser) -> None:
    (photos / "guesses").write_text("a file")
    with pytest.raises(OutputError, match="cannot write .*guesses: File exists"), Labelling(photos, parser):
        pass
    assert not (photos / "labels").exists()


def test_prepare_takes_the_folder_at_once(photos: Path, parser: FaceParser, tmp_path: Path) -> None:
    """Of a photograph that EXIF turns, too: its label lies on the upright picture."""
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(photos / "cleo.png") as picture:
        picture.convert("RGB").save(photos / "dora.jpg", exif=exif)
    saved = {}
    with Labelling(photos, parser) as labelling:
        for photograph in labelling.photographs:
            opened = labelling.open(photograph)
            label = painted(opened.guess)
            save(labelling, photograph, label, opened)
            saved[photograph.path.stem] = label
    assert saved["dora"].shape == (60, 40)
    source = Folder(photos, label_set=parser.label_set, images="*", labels="labels/*.png")
    report = prepare(source, tmp_path / "dataset")
    assert sum(report.splits.values()) == 4
    for name, label in saved.items():
        assert np.array_equal(read_label(tmp_path / "dataset" / "labels" / f"{name}.png"), label)


def test_folders_in_it_are_labelled_and_prepared(photos: Path, parser: FaceParser, tmp_path: Path) -> None:
    """As `uncertain --copy` leaves them: two photographs have one name."""
    (photos / "day1").mkdir()
    for name, new in [("anna", "day1/anna.png"), ("bert", "anna.png"), ("cleo", "day1/cleo.png")]:
        with Image.open(photos / f"{name}.png") as picture:
            picture.save((photos / new).with_suffix(".jpg"))
        (photos / f"{name}.png").unlink()
    saved = {}
    with Labelling(photos, parser, recursive=True) as labelling:
        assert [one.name for one in labelling.photographs] == ["anna.jpg", "day1/anna.jpg", "day1/cleo.jpg"]
        for pixels, photograph in enumerate(labelling.photographs, start=3):
            opened = labelling.open(photograph)
            label = painted(opened.guess, pixels)
            save(labelling, photograph, label, opened)
            saved[Path(photograph.name).with_suffix(".png")] = label
    with Labelling(photos, parser, recursive=True) as again:
        rows = [again.row(photograph) for photograph in again.photographs]
        assert [row.corrected for row in rows if row] == [3, 4, 5]
    source = Folder(photos, label_set=parser.label_set, images="**/*.jpg", labels="labels/**/*.png")
    prepare(source, tmp_path / "dataset")
    for name, label in saved.items():
        assert np.array_equal(read_label(tmp_path / "dataset" / "labels" / name), label)
