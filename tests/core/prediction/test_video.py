import io
import os
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from faceparse.core.errors import DatasetError, ResourceError
from faceparse.core.prediction.video import Frame, Sound, Video, VideoWriter, check_pyav
from tests.core.prediction.films import STEP, TIME_BASE, make_video, read_video


def pictures(count: int, size: tuple[int, int] = (48, 64)) -> list[np.ndarray]:
    """A bright corner at the top left, and a background that gets brighter with time."""
    found = []
    for i in range(count):
        image = np.full((*size, 3), (40 + 4 * i, 60, 120), np.uint8)
        image[:16, :24] = 230
        found.append(image)
    return found


def read(path: Path) -> tuple[list[Frame], str | None]:
    with Video(str(path)) as video:
        return list(video.frames()), video.problem


def copy(path: Path) -> Path:
    """Through the reader and the writer."""
    sound = Sound(str(path))
    out = path.with_name(f"copy{sound.suffix}")
    with Video(str(path)) as video, out.open("wb") as file:
        frames = list(video.frames())
        height, width = frames[0].image.shape[:2]
        with VideoWriter(file, (height, width), sound, time_base=video.time_base, rate=video.rate) as writer:
            for frame in frames:
                writer.write(frame.image, frame.time)
            writer.finish()
    sound.close()
    return out


def test_frames_and_their_times_are_those_of_the_file(tmp_path: Path) -> None:
    images, times = pictures(6), [0, 300, 1500, 1600, 4000, 4001]
    path = make_video(tmp_path / "a.mp4", images, times=times)
    frames, problem = read(path)
    assert problem is None
    start = frames[0].time
    assert [frame.time - start for frame in frames] == times
    for frame, image in zip(frames, images, strict=True):
        assert np.abs(frame.image.astype(int) - image).mean() < 4
    with Video(str(path)) as video:
        assert (video.total, video.time_base) == (6, TIME_BASE)


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_a_film_that_was_taken_sideways_is_turned_upright(tmp_path: Path, rotation: int) -> None:
    """The matrix turns what is stored counter-clockwise."""
    stored = pictures(2)
    path = make_video(tmp_path / "a.mp4", stored, rotation=rotation)
    frames, _ = read(path)
    expected = np.rot90(stored[0], rotation // 90)
    assert frames[0].image.shape == expected.shape
    assert np.abs(frames[0].image.astype(int) - expected).mean() < 4
    copied = read_video(copy(path))
    assert copied.rotation == 0
    assert np.abs(copied.images[0].astype(int) - expected).mean() < 6


@pytest.mark.parametrize(
    ("name", "sound", "suffix"),
    [("a.mp4", "aac", ".mp4"), ("a.mov", "pcm_s16le", ".mkv"), ("a.mkv", "libopus", ".mp4"), ("a.mp4", None, ".mp4")],
)
def test_a_copy_has_the_same_times_and_the_same_sound(
    tmp_path: Path, name: str, sound: str | None, suffix: str
) -> None:
    rate = [STEP * i + (i % 3) * 100 for i in range(10)]
    path = make_video(tmp_path / name, pictures(10), times=rate, sound=sound)
    out = copy(path)
    assert out.suffix == suffix
    before, after = read_video(path), read_video(out)
    np.testing.assert_allclose(after.seconds, before.seconds, atol=0.0011)  # Matroska counts in milliseconds
    assert [data for _, data in after.sound] == [data for _, data in before.sound]
    assert [time for time, _ in after.sound] == pytest.approx([time for time, _ in before.sound], abs=0.0011)
    assert (len(before.sound) > 3, after.sound_codec) == (bool(sound), before.sound_codec)
    for one, other in zip(after.images, before.images, strict=True):
        assert np.abs(one.astype(int) - other).mean() < 4


def test_odd_sides_grow_by_a_pixel(tmp_path: Path) -> None:
    image = np.full((31, 45, 3), 90, np.uint8)
    with (
        (tmp_path / "a.mp4").open("wb") as file,
        VideoWriter(file, (31, 45), Sound(None), time_base=TIME_BASE, rate=Fraction(25)) as writer,
    ):
        writer.write(image, 0)
        writer.finish()
    (found,) = read_video(tmp_path / "a.mp4").images
    assert found.shape == (32, 46, 3)
    assert np.abs(found.astype(int) - 90).max() < 4


def test_a_truncated_film_gives_what_there_is_and_is_told(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(50)]
    path = make_video(tmp_path / "a.mp4", images, index_first=True)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    frames, problem = read(path)
    assert 15 < len(frames) < 35
    assert problem is not None
    assert problem.endswith(" of 2.0 s")


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".ts"])
def test_a_film_whose_clock_starts_at_ten_seconds_is_whole(tmp_path: Path, suffix: str) -> None:
    start = int(10 / TIME_BASE)
    images = pictures(40)
    path = make_video(tmp_path / f"a{suffix}", images, times=[start + STEP * i for i in range(len(images))], sound=None)
    frames, problem = read(path)
    assert (len(frames), problem) == (40, None)


def test_a_matroska_film_that_starts_late_and_is_cut_short_is_told(tmp_path: Path) -> None:
    start = int(10 / TIME_BASE)
    images = pictures(100)
    whole = make_video(
        tmp_path / "a.mkv", images, times=[start + STEP * i for i in range(len(images))], sound=None
    ).read_bytes()
    (tmp_path / "b.mkv").write_bytes(whole[: len(whole) // 2])
    frames, problem = read(tmp_path / "b.mkv")
    assert 0 < len(frames) < 100
    assert problem is not None and problem.startswith(("ends after", "damaged"))


def test_a_damaged_packet_is_told_and_the_rest_is_read(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(40)]
    path = make_video(tmp_path / "a.mp4", images, index_first=True, sound=None)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = bytes(4000)
    path.write_bytes(data)
    frames, problem = read(path)
    assert 20 < len(frames) <= 40
    assert problem is not None
    assert problem.startswith("damaged (")


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", bytes(3000)], ids=["empty", "script", "zeros"])
def test_what_is_no_film_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(DatasetError) as caught, Video(str(path)):
        pass
    assert str(caught.value).startswith(f"{path}: not a readable video (")
    assert str(caught.value).endswith("; replace the file")


def test_a_missing_file_and_sound_alone_are_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(DatasetError, match=r"cannot read a.mp4: No such file or directory"),
        Video("a.mp4"),
    ):
        pass
    import av

    with av.open(str(tmp_path / "b.mp4"), "w") as container:
        audio = container.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), format="s16", layout="mono")
        frame.sample_rate = 16_000
        container.mux([*audio.encode(frame), *audio.encode(None)])
    with (
        pytest.raises(DatasetError, match=r"b.mp4: no pictures in it; replace the file$"),
        Video(str(tmp_path / "b.mp4")),
    ):
        pass


def test_without_pyav_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ResourceError) as caught:
        check_pyav()
    assert str(caught.value) == "videos need PyAV: pip install av, or '.[video]' where faceparse is cloned"


def test_a_writer_that_is_left_early_does_not_complain(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        VideoWriter(io.BytesIO(), (32, 32), Sound(None), time_base=TIME_BASE, rate=Fraction(25)) as writer,
    ):
        writer.write(np.zeros((32, 32, 3), np.uint8), 0)
        raise KeyboardInterrupt


def test_a_path_is_no_address_and_no_list_of_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg takes `http:/...` and `concat:...` for addresses, and a text that names files for a film of them."""
    monkeypatch.chdir(tmp_path)
    film = make_video(tmp_path / "a.mp4", pictures(3))
    for name in ("http:", "concat:"):
        (tmp_path / name).mkdir()
        named = Path(name) / "a.mp4"
        named.write_bytes(film.read_bytes())
        assert len(read(named)[0]) == 3
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile a.mp4\n")
    with pytest.raises(DatasetError, match=r"^list\.mp4: not a readable video \("):
        read(Path("list.mp4"))


def test_a_pipe_in_a_video_s_place_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(DatasetError, match=r"a\.mp4: it is no regular file; replace it by one"):
        read(tmp_path / "a.mp4")


def test_a_film_that_changes_its_size_ends_there_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "both.ts"
    parts = [
        make_video(tmp_path / f"{n}.ts", pictures(4, size), sound=None) for n, size in enumerate(((48, 64), (64, 96)))
    ]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames, problem = read(path)
    assert {frame.image.shape[:2] for frame in frames} == {(48, 64)}
    assert problem == "changes its size from 64 x 48 to 96 x 64 at frame 4; what follows is left out"


def test_an_avi_that_was_cut_short_says_so(tmp_path: Path) -> None:
    """Its length is guessed from the file's size; the number of its pictures is written in its header."""
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.height, stream.width = 48, 64
        stream.pix_fmt = "yuvj420p"
        for image in pictures(12):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    frames, problem = read(path)
    assert (len(frames), problem) == (12, None)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    frames, problem = read(path)
    assert 0 < len(frames) < 12
    assert problem == f"holds {len(frames)} of 12 pictures"


def test_pictures_that_the_decoder_calls_damaged_are_counted(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.ts", pictures(30), sound=None)
    data = bytearray(path.read_bytes())
    middle = len(data) // 3 // 188 * 188
    data[middle : middle + 188 * (len(data) // 188 // 3)] = bytes(188 * (len(data) // 188 // 3))
    path.write_bytes(data)
    _, problem = read(path)
    assert problem is not None
    assert problem.startswith("damaged (")
