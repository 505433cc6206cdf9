"""Compare the bundle of an imported BiSeNet with the bare file in ONNX Runtime, both from crops to numbers."""

import tempfile
from pathlib import Path

import onnxruntime
import torch

from benchmarks.harness import Result, medians, speedup
from faceparse.core.export.verify import drawn_crops
from faceparse.core.foreign.foreign_description import known_descriptions
from faceparse.core.foreign.foreign_file import read_foreign
from faceparse.core.foreign.import_model import Importer
from faceparse.core.images.crop import normalise
from faceparse.core.parser.inference import Parser
from tests.core.foreign.networks import BiSeNet, export_onnx, lively

ROUNDS = 9


def run() -> list[Result]:
    """Import BiSeNet on ResNet-18 with random weights, and time one crop and four.

    The bare pass gets normalised pictures and gives the first output alone; the bundle starts from crops.
    """
    description = known_descriptions()["bisenet-resnet18"]
    height, width = size = description.input.size
    with tempfile.TemporaryDirectory() as folder:
        path = export_onnx(lively(BiSeNet()), Path(folder, "foreign.onnx"), size, outputs=("out", "out16", "out32"))
        report = Importer(read_foreign(path), description).write(Path(folder, "bundle"))
        device = torch.device("cpu")
        parser = Parser(report.model.network(device), device, report.model.fit)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(path.read_bytes(), options)
        data = report.model.settings.data
        results = []
        for count in (1, 4):
            crops = drawn_crops(count, size)
            image = normalise(crops.numpy(), bgr=False, mean=data.mean, std=data.std)
            first = [session.get_outputs()[0].name]

            def bare(image: object = image, first: list[str] = first) -> object:
                return session.run(first, {"input": image})

            def imported(crops: torch.Tensor = crops) -> object:
                return parser.logits(crops)

            ours, peer = medians(imported, bare, rounds=ROUNDS)
            what = (
                f"foreign: BiSeNet at {height} x {width}, imported, times as fast as the bare file, {count} at a time"
            )
            results.append(speedup(what, ours, peer, 0.9))
    return results
