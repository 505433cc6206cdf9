"""Videos made by code, and what is in a video."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

TIME_BASE = Fraction(1, 12_800)
STEP = 512
"""Of the time base: 25 frames a second."""


def make_video(
    path: Path,
    images: Sequence[np.ndarray],
    *,
    times: Sequence[int] | None = None,
    sound: str | None = "aac",
    rotation: int = 0,
    index_first: bool = False,
) -> Path:
    """H.264 of H x W x 3 uint8 RGB images, with a tone as long as they are."""
    times = times or [STEP * i for i in range(len(images))]
    with av.open(str(path), "w", options={"movflags": "faststart"} if index_first else {}) as container:
        video = container.add_stream("libx264", rate=25, options={"crf": "10", "preset": "ultrafast"})
        video.height, video.width = images[0].shape[:2]
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = TIME_BASE
        if rotation:
            video.set_display_rotation(rotation)
        audio = container.add_stream(sound, rate=16_000, layout="mono") if sound else None
        for image, time in zip(images, times, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = time, TIME_BASE
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            length = int(float((times[-1] + STEP) * TIME_BASE) * 16_000)
            tone = (8000 * np.sin(0.05 * np.arange(length))).astype(np.int16)
            for start in range(0, length, 1024):
                piece = av.AudioFrame.from_ndarray(tone[None, start : start + 1024], format="s16", layout="mono")
                piece.sample_rate, piece.pts, piece.time_base = 16_000, start, Fraction(1, 16_000)
                container.mux(audio.encode(piece))
            container.mux(audio.encode(None))
    return path


@dataclass(frozen=True)
class Content:
    images: list[np.ndarray]
    seconds: list[float]
    rotation: int
    sound: list[tuple[float, bytes]]
    """When each packet is heard, and its bytes."""
    sound_codec: str | None


def read_video(path: Path) -> Content:
    data = path.read_bytes()
    with av.open(io.BytesIO(data)) as container:
        frames = list(container.decode(video=0))
    with av.open(io.BytesIO(data)) as container:
        audio = container.streams.audio[0] if container.streams.audio else None
        packets = [p for p in container.demux(audio) if p.dts is not None] if audio else []
        return Content(
            [frame.to_ndarray(format="rgb24") for frame in frames],
            [float(frame.pts * frame.time_base) for frame in frames],
            frames[0].rotation,
            [(float(p.pts * p.time_base), bytes(p)) for p in packets],
            audio.codec_context.codec.canonical_name if audio else None,
        )
