"""Compare evaluation with the bare forward pass, and its memory at ten times the images."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.harness import Result, make_faces, medians, one_thread, peak_memory
from faceparse.core.datasets.layout import DatasetFolder
from faceparse.core.images.warp import Size
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.model.build import build_model
from faceparse.core.parser.inference import Parser
from faceparse.core.parser.trained import Network, ParsingNetwork, TrainedModel
from faceparse.core.scoring.counting import count_samples
from faceparse.core.scoring.evaluation import run_evaluations
from faceparse.core.scoring.protocols import DEFAULT
from faceparse.core.scoring.score_model import plan_evaluations
from faceparse.core.settings import DataSettings, ModelSettings, Settings

SIZE, BATCH_SIZE, IMAGES = (225, 161), 4, 12
MEMORY = """
import sys
from pathlib import Path
from benchmarks.evaluation import peak
if __name__ == "__main__":
    print(peak(Path(sys.argv[1]), int(sys.argv[2])))
"""


def run() -> list[Result]:
    """Measure throughput and memory."""
    with tempfile.TemporaryDirectory() as folder:
        return [_throughput(Path(folder, "faces")), _memory(Path(folder, "small"))]


def _throughput(root: Path) -> Result:
    """Compare images per second with those of the network alone.

    One thread of one process runs the network, reads and warps; counting has further threads.
    """
    make_faces(root, IMAGES, 256)
    dataset = DatasetFolder(root)
    samples = [sample for split in ("train", "val", "test") for sample in dataset.samples(split)]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = build_model(ModelSettings(backbone="resnet18", norm="torch"), 11, device)
    parser = Parser(ParsingNetwork(model, DataSettings(input_size=SIZE)).to(device).eval(), device)
    crops = torch.randint(0, 256, (BATCH_SIZE, *SIZE, 3), dtype=torch.uint8)

    def ours() -> None:
        count_samples(parser, samples, 11, [DEFAULT], batch_size=BATCH_SIZE)

    def floor() -> None:
        for _ in range(IMAGES // BATCH_SIZE):
            parser.logits(crops).aminmax()  # waits for a GPU

    with one_thread():
        taken, alone = medians(ours, floor, rounds=7)
    what = "eval: images with F1, IoU and boundary counts, their rate as a share of the bare forward pass's"
    return Result(what, taken / IMAGES, alone / IMAGES, alone / taken, 0.9, "at least")


def _memory(root: Path) -> Result:
    make_faces(root, 20, 64)
    peaks = []
    for images in (100, 1000):
        command = [sys.executable, "-c", MEMORY, str(root), str(images)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks.append(int(done.stdout))
    small, large = peaks
    what = "eval: peak memory of an evaluation with its report at 1000 images, against 100"
    return Result(what, large / 1024, small / 1024, large / small, 1.1, "at most", "MiB")


class _Bright:
    """Stands in for a network: classes from dark to bright."""

    input_size = (64, 64)

    def __call__(self, crops: Tensor) -> Tensor:
        grey = crops.float().mean(dim=3)[:, None] / 255
        return -((grey - torch.linspace(0, 1, 11).view(1, 11, 1, 1)) ** 2)


class _Model(TrainedModel):
    def network(self, device: torch.device, input_size: Size | None = None) -> Network:
        return _Bright()


def peak(root: Path, images: int) -> int:
    """Peak memory in KiB of this process, which evaluates a list of `images` and writes the report."""
    lines = (root / "train_list.txt").read_text().splitlines()
    (root / "test_list.txt").write_text("\n".join(_repeated(lines, images)))
    settings = Settings(data=DataSettings(root=root, input_size=_Bright.input_size))
    file = root / "model.pth"  # its checksum stands with the scores
    file.write_bytes(b"no network")
    model = _Model(path=file, settings=settings, label_set=get_label_set("helen"))
    run_evaluations(
        plan_evaluations([model]),
        device=torch.device("cpu"),
        output=root.parent / f"report{images}",
        batch_size=4,
        resamples=1000,
        worst=12,
        warn=lambda _: None,
    )
    return peak_memory()


def _repeated(lines: list[str], count: int) -> Iterator[str]:
    return (lines[i % len(lines)] for i in range(count))
