import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from faceparse.core.errors import DatasetError, DeviceError, OutputError
from faceparse.core.faces.crops import crop_picture
from faceparse.core.faces.face import Face
from faceparse.core.faces.matte import matte
from faceparse.core.images.overlay import overlay
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.parser.inference import Parser
from faceparse.core.prediction.camera import Camera
from faceparse.core.prediction.films import predict_film
from faceparse.core.prediction.saving import Outputs
from faceparse.core.prediction.video import Video
from tests.core.prediction.films import make_video, read_video

HELEN = get_label_set("helen")
OUT = Path("out")


def outputs(*kinds: str) -> Outputs:
    return Outputs(OUT, HELEN, kinds, (2, 3, 4), "best.pth")


def noisy(count: int) -> list[np.ndarray]:
    """A grey ramp that stands still, each frame a little brighter or darker than its neighbours, and a moving bar."""
    ramp = np.linspace(40, 220, 64)[None, :, None]
    found = []
    for i in range(count):
        image = np.broadcast_to(ramp + (3 if i % 2 else 0), (64, 64, 3)).copy()
        image[20:40, 4 * i : 4 * i + 6] = 255
        found.append(image.astype(np.uint8))
    return found


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return make_video(tmp_path / "film.mp4", noisy(10))


def saved_labels() -> list[np.ndarray]:
    return [np.array(Image.open(path)) for path in sorted((OUT / "labels" / "film").iterdir())]


def test_each_frame_is_parsed_and_the_film_has_its_times_and_sound(parser: Parser, film: Path) -> None:
    report = predict_film(parser, Video(str(film)), "film", outputs("labels", "overlays", "cutouts"), batch_size=4)
    assert (report.frames, report.problem, report.smoothed_flicker, report.faceless) == (10, None, None, None)
    with Video(str(film)) as video:
        images = [frame.image for frame in video.frames()]
    labels = saved_labels()
    for found, expected in zip(labels, parser.parse(images), strict=True):
        assert (found == expected).mean() > 0.999
    before, after = read_video(film), read_video(OUT / "overlays" / "film.mp4")
    assert after.seconds == pytest.approx(before.seconds)
    assert after.sound == before.sound
    for image, label, found in zip(images, labels, after.images, strict=True):
        assert (
            np.abs(overlay(image, label, HELEN.palette()).astype(int) - found).mean() < 12
        )  # colour at half resolution
    assert [path.name for path in sorted((OUT / "cutouts" / "film").iterdir())][::9] == ["000000.png", "000009.png"]


def test_smoothing_lowers_the_flicker_that_is_reported(parser: Parser, film: Path) -> None:
    report = predict_film(parser, Video(str(film)), "film", outputs("labels", "json"), smooth=0.8)
    assert report.flicker is not None
    assert report.smoothed_flicker is not None
    assert 0 < report.smoothed_flicker < report.flicker < 1
    with Video(str(film)) as video:
        images = [frame.image for frame in video.frames()]
    greys = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(int) for image in images]
    for labels, expected in ((parser.parse(images), report.flicker), (saved_labels(), report.smoothed_flicker)):
        pairs = [(abs(greys[i] - greys[i - 1]) <= 5, labels[i] != labels[i - 1]) for i in range(1, 10)]
        share = sum((still & changed).sum() for still, changed in pairs) / sum(still.sum() for still, _ in pairs)
        assert share == pytest.approx(expected, rel=0.02)
    content = json.loads((OUT / "json" / "film.json").read_text())
    assert content["flicker"] == {"raw": report.flicker, "smoothed": report.smoothed_flicker}
    assert (content["frames"], content["smooth"], content["width"]) == (10, 0.8, 64)
    pixels = sum(np.bincount(label.flatten(), minlength=11) for label in saved_labels())
    assert [one["pixels"] for one in content["classes"].values()] == np.asarray(pixels).tolist()


@pytest.mark.parametrize("smooth", [0.0, 0.8])
def test_alpha_of_each_frame_is_of_the_smoothed_probabilities(parser: Parser, film: Path, smooth: float) -> None:
    chosen = outputs("alpha")
    predict_film(parser, Video(str(film)), "film", chosen, smooth=smooth)
    with Video(str(film)) as video:
        images = [frame.image for frame in video.frames()]
    average: np.ndarray | None = None
    for i, image in enumerate(images):
        (crop,) = crop_picture(image, None, parser.input_size)
        now = parser.logits(torch.from_numpy(crop.image[None]))[0].softmax(dim=0).numpy()
        average = now if average is None else smooth * average + (1 - smooth) * now
        expected = matte(image, [average], [crop], np.zeros((64, 64), np.uint16), chosen.shown)
        found = np.array(Image.open(OUT / "alpha" / "film" / f"{i:06d}.png"))
        assert np.abs(found.astype(int) - expected).max() <= 1
        assert 0.05 < found.mean() / 255 < 0.95


def test_faces_are_looked_for_in_each_frame(parser: Parser, film: Path) -> None:
    seen = iter(range(10))

    def finder(where: str, image: np.ndarray) -> list[Face]:
        return [] if next(seen) % 2 else [Face((0, 0, 30, 30))]

    report = predict_film(parser, Video(str(film)), "film", outputs("labels", "json"), finder=finder, smooth=0.5)
    assert report.faceless == 5
    labels = saved_labels()
    assert [label.any() for label in labels] == [True, False] * 5
    assert not any(label[60:].any() for label in labels)  # neither the face's crop nor the wider one reaches there


def test_what_could_be_read_of_a_truncated_film_is_written(parser: Parser, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(50)]
    path = make_video(tmp_path / "cut.mp4", images, index_first=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    report = predict_film(parser, Video(str(path)), "cut", outputs("overlays"))
    assert report.problem is not None
    assert len(read_video(OUT / "overlays" / "cut.mp4").images) == report.frames > 15


def test_a_film_without_frames_is_refused_and_leaves_nothing(parser: Parser, tmp_path: Path) -> None:
    path = make_video(tmp_path / "cut.mp4", noisy(3), index_first=True, sound=None)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"mdat") + 8])
    with pytest.raises(DatasetError, match="cut.mp4: no frames in it; replace the file"):
        predict_film(parser, Video(str(path)), "cut", outputs("overlays", "json"))
    assert not OUT.exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_film_that_is_not_finished_is_not_there(
    parser: Parser, film: Path, monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    calls = 0

    def fails(*_: object) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise error
        return np.zeros((64, 64, 3), np.uint8)

    monkeypatch.setattr("faceparse.core.prediction.films.overlay", fails)
    expected = OutputError if isinstance(error, OSError) else error
    with pytest.raises(expected) as caught:
        predict_film(parser, Video(str(film)), "film", outputs("overlays", "json"))
    if isinstance(error, OSError):
        assert str(caught.value) == (
            "cannot write out/overlays/film.mp4: No space left on device; free space or choose another place"
        )
    assert [path for path in OUT.rglob("*") if path.is_file()] == []


class FakeCapture:
    """OpenCV's camera, with a few pictures."""

    def __init__(self, pictures: list[np.ndarray], opened: bool = True) -> None:
        self.pictures: Iterator[np.ndarray] = iter(pictures)
        self.opened, self.released = opened, False

    def isOpened(self) -> bool:  # noqa: N802
        return self.opened

    def read(self) -> tuple[bool, np.ndarray | None]:
        picture = next(self.pictures, None)
        return picture is not None, picture

    def release(self) -> None:
        self.released = True


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> FakeCapture:
    capture = FakeCapture([cv2.cvtColor(image, cv2.COLOR_RGB2BGR) for image in noisy(8)])
    monkeypatch.setattr(cv2, "VideoCapture", lambda number: capture)
    return capture


def test_a_camera_is_filmed_until_it_ends(parser: Parser, camera: FakeCapture) -> None:
    report = predict_film(parser, Camera(0), "webcam-0", outputs("overlays", "labels"))
    assert (report.frames, report.where, camera.released) == (8, "webcam:0", True)
    found = read_video(OUT / "overlays" / "webcam-0.mp4")
    assert (len(found.images), found.sound) == (8, [])
    assert all(b > a for a, b in zip(found.seconds, found.seconds[1:], strict=False))
    (expected,) = parser.parse(noisy(1))
    assert np.array_equal(np.array(Image.open(OUT / "labels" / "webcam-0" / "000000.png")), expected)


def test_ctrl_c_ends_a_camera_as_a_file_ends(parser: Parser, camera: FakeCapture) -> None:
    outside = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    try:
        with Camera(0) as film:
            frames = film.frames()
            next(frames)
            signal.raise_signal(signal.SIGINT)
            assert list(frames) == []
            with pytest.raises(KeyboardInterrupt):  # the second one is in earnest
                signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, outside)


def test_where_there_is_no_camera_one_line_says_so(monkeypatch: pytest.MonkeyPatch, parser: Parser) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", lambda number: FakeCapture([], opened=False))
    with pytest.raises(DeviceError) as caught:
        predict_film(parser, Camera(7), "webcam-7", outputs("overlays"))
    assert str(caught.value) == "webcam:7: no such camera here, or another program has it; see /dev/video*"
