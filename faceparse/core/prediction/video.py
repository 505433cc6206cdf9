"""Reads and writes videos. Only this file imports PyAV.

Frames keep their timestamps, and the sound keeps its packets.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from faceparse.core.errors import DatasetError, ResourceError
from faceparse.core.files.reading import open_regular
from faceparse.core.images.warp import Size

CUT_SHORT = 0.5
"""Seconds by which a video may end earlier than its header says."""


@dataclass(frozen=True)
class Frame:
    """One picture of a film."""

    image: np.ndarray
    """H x W x 3 uint8 RGB, upright."""
    time: int
    """Time at which it is shown, in the film's time base. Each frame is later than the one before."""


def check_pyav() -> None:
    """Check that PyAV can be imported.

    Raises:
        ResourceError: PyAV is not installed.
    """
    try:
        import av  # noqa: F401
    except ImportError:
        raise ResourceError("videos need PyAV: pip install av, or '.[video]' where faceparse is cloned") from None


class Video:
    """A video file. Enter it, then read it once."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.sound: str | None = where
        self.problem: str | None = None
        """Problem of the file, known after `frames` has ended; None if there was none."""

    def __enter__(self) -> Self:
        """Open the file.

        Raises:
            DatasetError: it cannot be read, or has no pictures.
        """
        import av

        try:
            self._file = _File(self.where)
        except av.FFmpegError as error:
            raise DatasetError(f"{self.where}: not a readable video ({error.strerror}); replace the file") from None
        self._container = self._file.container
        stream: Any = self._container.streams.best("video")
        if stream is None:
            self._file.close()
            raise DatasetError(f"{self.where}: no pictures in it; replace the file")
        stream.thread_type = "AUTO"
        self._stream = stream
        self.time_base = Fraction(stream.time_base or Fraction(1, 90_000))
        self.rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
        self._start = (self._container.start_time or 0) / av.time_base
        self.seconds = (self._container.duration or 0) / av.time_base
        # Most writers of Matroska count its length from 0, wherever its clock starts; others from the first picture.
        if "matroska" in self._container.format.name and self.seconds > self._start:
            self.seconds -= max(self._start, 0.0)
        self.total: int | None = stream.frames or round(self.seconds * self.rate) or None
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def frames(self) -> Iterator[Frame]:
        """Yield the frames in their order; damaged ones are left out, and `problem` then says so."""
        import av

        end, last, count, packets, damaged = 0.0, -1, 0, 0, 0
        size: Size | None = None
        try:
            for packet in self._container.demux():
                if packet.pts is not None and packet.time_base is not None:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base) - self._start)
                if packet.stream.index != self._stream.index:
                    continue
                packets += packet.size > 0
                for frame in self._decode(packet):
                    image = _upright(frame)
                    found = (image.shape[0], image.shape[1])
                    size = size or found
                    if found != size:
                        self.problem = (
                            f"changes its size from {size[1]} x {size[0]} to {found[1]} x {found[0]} at frame {count}; "
                            "what follows is left out"
                        )
                        return
                    damaged += bool(frame.is_corrupt or packet.is_corrupt)
                    last = max(last + 1, frame.pts if frame.pts is not None else 0)
                    count += 1
                    yield Frame(image, last)
        except av.FFmpegError as error:
            self.problem = f"damaged ({error.strerror})"
        if damaged and self.problem is None:
            self.problem = f"damaged ({damaged} of {count} pictures)"
        if end < self.seconds - CUT_SHORT:
            self.problem = f"ends after {end:.1f} of {self.seconds:.1f} s"
        if "avi" in self._container.format.name and packets < self._stream.frames:  # its length is a guess
            self.problem = f"holds {count} of {self._stream.frames} pictures"

    def _decode(self, packet: Any) -> list[Any]:
        """Frames of a packet; none if it is damaged."""
        import av

        try:
            return packet.decode()
        except av.error.InvalidDataError as error:
            self.problem = f"damaged ({error.strerror})"
            return []


def _upright(frame: Any) -> np.ndarray:
    """Picture of a frame, H x W x 3 uint8 RGB, turned by its display matrix: degrees, counter-clockwise."""
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)))


_BT709 = 1
_MP4_SOUND = {"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"}
_CONTAINERS = "mov,matroska,avi,mpeg,mpegts,mpegvideo,m4v,h264,hevc,asf"
"""Formats that FFmpeg may take a file for. It knows others that name further files, which it would open."""


class _File:
    """A video file, opened by itself alone: FFmpeg would take a path such as `http:/...` for an address."""

    def __init__(self, where: str) -> None:
        """Open it.

        Raises:
            DatasetError: it is no regular file.
            av.FFmpegError: it is no video.
        """
        import av

        self._file = open_regular(Path(where))
        try:
            self.container: Any = av.open(self._file, container_options={"format_whitelist": _CONTAINERS})
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self.container.close()
        self._file.close()


class Sound:
    """Sound of a video file, in its packets; empty for a camera (None)."""

    def __init__(self, where: str | None) -> None:
        self._file = _File(where) if where else None
        self.streams = self._file.container.streams.audio if self._file else ()
        self._packets = self._file.container.demux(*self.streams) if self._file and self.streams else iter(())
        self._next: Any = None

    @property
    def suffix(self) -> str:
        """Suffix of a file that can hold this sound and H.264: `.mp4`, or `.mkv` (Matroska), which holds everything."""
        return (
            ".mp4" if {stream.codec_context.codec.canonical_name for stream in self.streams} <= _MP4_SOUND else ".mkv"
        )

    def until(self, seconds: float) -> Iterator[Any]:
        """Yield the packets up to this time that were not yielded before."""
        while (packet := self._next or self._read()) is not None:
            self._next = packet
            if packet.dts * packet.time_base > seconds:
                return
            self._next = None
            yield packet

    def _read(self) -> Any:
        import av

        try:
            return next((packet for packet in self._packets if packet.dts is not None), None)
        except av.FFmpegError:  # damaged from here on; `Video` reports it
            return None

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()


class VideoWriter:
    """Writes H.264 with the frames' own timestamps, and the packets of a sound.

    Odd sides grow by one pixel, since H.264 as written here has even sides.
    """

    def __init__(self, file: BinaryIO, size: Size, sound: Sound, *, time_base: Fraction, rate: Fraction) -> None:
        """Start a file.

        Args:
            size: height and width of the frames.
            rate: frames per second, as a hint.
        """
        import av

        self._container = av.open(file, "w", format="mp4" if sound.suffix == ".mp4" else "matroska")
        self._sound, self._time_base = sound, time_base
        options = {"crf": "18", "preset": "veryfast"}  # hardly distinguishable from the original
        self._stream: Any = self._container.add_stream("libx264", rate=rate, options=options)
        self._margin = size[0] % 2, size[1] % 2
        self._stream.height, self._stream.width = size[0] + self._margin[0], size[1] + self._margin[1]
        self._stream.pix_fmt = "yuv420p"
        codec = self._stream.codec_context
        codec.time_base = time_base
        codec.colorspace = codec.color_primaries = codec.color_trc = _BT709  # otherwise players guess from the size
        codec.color_range = 1  # 16 to 235
        self._audio = {one.index: self._container.add_stream_from_template(one) for one in sound.streams}

    def write(self, image: np.ndarray, time: int) -> None:
        """Add a frame, H x W x 3 uint8 RGB, and the time at which it is shown, in the time base."""
        import av

        image = np.pad(image, ((0, self._margin[0]), (0, self._margin[1]), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=_BT709, src_color_range="JPEG", dst_color_range="MPEG")
        frame.pts, frame.time_base = time, self._time_base
        self._container.mux(self._stream.encode(frame))
        self._copy_sound(float(time * self._time_base))

    def finish(self) -> None:
        """Write the last frames and the rest of the sound, and close the file."""
        self._container.mux(self._stream.encode(None))
        self._copy_sound(float("inf"))
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file. What `finish` has not written is lost. An error here is hidden: the one before tells more."""
        with suppress(Exception):
            self._container.close()

    def _copy_sound(self, until: float) -> None:
        for packet in self._sound.until(until):
            packet.stream = self._audio[packet.stream.index]
            self._container.mux(packet)
