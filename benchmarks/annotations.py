"""Compare `prepare folder` on LabelMe's files with reading and decoding them alone, and with label pictures."""

import json
import os
import shutil
import tempfile
from itertools import count
from pathlib import Path

import cv2
import numpy as np

from benchmarks.harness import Result, medians
from faceparse.core.annotations.labelme import encode_labelme
from faceparse.core.datasets.folder import Folder
from faceparse.core.datasets.prepare import prepare
from faceparse.core.images.encoding import encode_jpeg, encode_png
from faceparse.core.images.read_photograph import read_image
from faceparse.core.labels.label_set import get_label_set
from tests.raw import face

PHOTOGRAPHS, DRAWN = 2000, 20
SIZE = 512
HELEN = get_label_set("helen")


def run() -> list[Result]:
    """Measure rates in one process."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    # Use a folder in memory if possible, because the speed of the disk does not count here.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        root = Path(folder)
        _make(root / "raw")
        fresh = (root / "out" / str(i) for i in count())

        def prepared(source: Folder) -> None:
            out = next(fresh)
            prepare(source, out)
            shutil.rmtree(out)

        def annotations() -> None:
            prepared(Folder(root / "raw", label_set=HELEN, images="photos/*.jpg", annotations="photos/*.json"))

        def pictures() -> None:
            prepared(Folder(root / "raw", label_set=HELEN, images="photos/*.jpg", labels="masks/*.png"))

        def alone() -> None:
            for i in range(PHOTOGRAPHS):
                json.loads((root / "raw" / "photos" / f"{i}.json").read_bytes())
                read_image(root / "raw" / "photos" / f"{i}.jpg")

        ours, floor, painted = medians(annotations, alone, pictures, rounds=1)
    cv2.setNumThreads(threads)
    what = f"prepare: {PHOTOGRAPHS} LabelMe files, its rate as a share of"
    return [
        Result(
            f"{what} reading and decoding alone", ours / PHOTOGRAPHS, floor / PHOTOGRAPHS, floor / ours, 0.2, "at least"
        ),
        Result(
            f"{what} its rate with label pictures",
            ours / PHOTOGRAPHS,
            painted / PHOTOGRAPHS,
            painted / ours,
            0.5,
            "at least",
        ),
    ]


def _make(raw: Path) -> None:
    """Drawn faces; the same few again under other names."""
    (raw / "photos").mkdir(parents=True)
    (raw / "masks").mkdir()
    for n in range(DRAWN):
        one = face(n, (SIZE, SIZE))
        photo, label, owner = encode_jpeg(one.image), one.label, (one.label != 0).astype(np.uint16)
        mask = encode_png(label)
        for i in range(n, PHOTOGRAPHS, DRAWN):
            (raw / "photos" / f"{i}.jpg").write_bytes(photo)
            (raw / "masks" / f"{i}.png").write_bytes(mask)
            (raw / "photos" / f"{i}.json").write_bytes(encode_labelme(f"{i}.jpg", label, owner, HELEN))
