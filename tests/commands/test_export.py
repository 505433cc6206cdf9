from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow.tracking import MlflowClient

from faceparse.core.errors import ExportError
from faceparse.core.export import export as core
from faceparse.core.export.export import Exporter, ExportReport
from faceparse.core.export.exported import ExportedModel
from faceparse.core.export.formats import FORMATS, PAGES
from faceparse.core.export.verify import Check
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.load import load_model_from
from faceparse.core.model.build import build_model
from faceparse.core.parser.checkpoint_format import pack
from faceparse.core.scoring.scores import Scores
from faceparse.core.settings import load_settings
from faceparse.core.training.run import RunResult
from faceparse.core.training.run_checkpoints import save

Tree = Callable[[], dict[Path, bytes]]
BEGINNING = "exporting {} to {}, then comparing it with PyTorch ..."


def scores(f1: float) -> Scores:
    return Scores({"background": 0.99, "skin": f1}, {}, {"mouth": None}, f1, f1, 0.9)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, bundle: Path) -> list[tuple[str, Path, bool]]:
    """Nothing is exported; what would have been is kept."""
    kept: list[tuple[str, Path, bool]] = []
    model = load_model_from(bundle)
    assert isinstance(model, ExportedModel)

    def keep(self: Exporter, name: str, path: Path, *, bundle: bool = False) -> ExportReport:
        kept.append((name, path, bundle))
        checks = (Check(1, 1.5e-7, 1.0), Check(3, 2.5e-7, 0.9999))
        found = scores(0.8765 - len(kept) / 100) if self.scored_on else None
        return ExportReport(name, path, model, 2_500_000, checks, found)

    monkeypatch.setattr(Exporter, "export", keep)
    monkeypatch.setattr(Exporter, "scores", property(lambda self: scores(0.8765) if self.scored_on else None))
    return kept


def test_a_file_and_how_well_it_agrees_are_told(
    cli: Any, trained: RunResult, asked: list[tuple[str, Path, bool]]
) -> None:
    done = cli("export", trained.best, "-o", "best[0].onnx")
    assert (done.code, done.err) == (0, BEGINNING.format(trained.best, "onnx") + "\n")
    lines = done.out.splitlines()
    assert lines[0] == (
        "best[0].onnx: image N x 3 x 64 x 64 -> parsing N x 11 x 64 x 64, 2.5 MB; "
        "the class of PyTorch on 99.9900% of pixels, largest difference of a logit 2.50e-07"
    )
    assert lines[1] == "F1 % on faces test, 2 images, and the change from PyTorch's"
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]
    assert ["skin", "87.65", "86.65 (-1.00)"] in cells
    assert ["mouth (merged)", "absent", "absent"] in cells
    assert ["background", "99.00", "99.00 (+0.00)"] in cells
    assert asked == [("onnx", Path("best[0].onnx"), False)]


def test_several_formats_lie_beside_the_checkpoint_or_in_a_folder(
    cli: Any, trained: RunResult, asked: list[tuple[str, Path, bool]]
) -> None:
    assert cli("export", trained.best, "--format", "onnx,onnx-int8,pt2").code == 0
    folder = trained.best.parent
    assert [path for _, path, _ in asked] == [folder / name for name in ("best.onnx", "best-int8.onnx", "best.pt2")]
    asked.clear()
    assert cli("export", trained.best, "--format", "onnx,onnx-fp16", "--bundle", "-o", "out").code == 0
    names = ["best-onnx.bundle", "best-onnx-fp16.bundle"]
    assert [(path, bundled) for _, path, bundled in asked] == [(Path("out") / name, True) for name in names]


def test_without_a_dataset_only_numbers_are_compared(
    cli: Any, trained: RunResult, asked: list[tuple[str, Path, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Path.is_dir
    monkeypatch.setattr("pathlib.Path.is_dir", lambda path: there(path) and path.name != "faces")
    done = cli("export", trained.best)
    assert done.code == 0
    assert done.err.splitlines()[0].startswith("F1 is not compared: no dataset at ")
    assert len(done.out.splitlines()) == 1
    done = cli("export", trained.best, "--max-f1-drop", "0.1")
    assert done.message == "--max-f1-drop needs photographs to score on; name a dataset with --data-dir"


def test_formats_are_timed_side_by_side(
    cli: Any, trained: RunResult, bundle: Path, asked: list[tuple[str, Path, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faceparse.core.export.latency.ROUNDS", 1)
    done = cli("export", trained.best, "--benchmark")
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in done.out.splitlines()]
    (pytorch,), (onnx,) = ([row for row in cells if row[0] == name and len(row) == 5] for name in ("PyTorch", "onnx"))
    assert pytorch[4] == "1.00"
    assert float(onnx[4]) == pytest.approx(float(onnx[3]) / float(pytorch[3]), abs=0.02)
    assert onnx[1] == "2.5"


def test_an_export_that_fails_leaves_the_old_file(
    cli: Any, trained: RunResult, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("best.onnx").write_bytes(b"an earlier export")
    before = tree()
    monkeypatch.setattr(core, "writers", lambda *_, **__: {"onnx": lambda file: file.write(b"garbage")})
    done = cli("export", trained.best, "--output", "best.onnx")
    beginning, error = done.err.splitlines()
    assert (done.code, done.out, beginning) == (2, "", BEGINNING.format(trained.best, "onnx"))
    assert error.startswith("error: ")
    assert "truncated or damaged" in error
    assert tree() == before


def test_other_formats_are_refused(cli: Any, trained: RunResult, tree: Tree) -> None:
    done = cli("export", trained.best, "--format", "onnx,onnx-fp32")
    assert (
        done.message == f"--format 'onnx-fp32': not one of {', '.join([*FORMATS, *PAGES])}; did you mean 'onnx-fp16'?"
    )
    assert tree() == {}


def test_weights_have_no_graph_for_preprocessing(cli: Any, trained: RunResult, tree: Tree) -> None:
    done = cli("export", trained.best, "--format", "onnx,safetensors", "--preprocessing")
    assert done.message == "--preprocessing: safetensors has weights and no graph to hold it; take another format"
    assert tree() == {}


@pytest.mark.parametrize("place", ["file/best.onnx", "/proc/x/best.onnx"])
def test_a_place_that_cannot_be_written_is_named_before_the_work(
    cli: Any, trained: RunResult, tree: Tree, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "writers", lambda *_, **__: {"onnx": lambda file: pytest.fail()})
    Path("file").write_text("mine")
    before = tree()
    done = cli("export", trained.best, "-o", place)
    assert done.code == 2
    assert done.err.splitlines()[1:] == [
        line for line in done.err.splitlines() if line.startswith("error: cannot write")
    ]
    assert len(done.err.splitlines()) == 2
    assert tree() == before


# A page for browsers.


@pytest.fixture
def onnxruntime_web(tmp_path: Path) -> Path:
    """A made-up package, which runs nothing."""
    folder = tmp_path / "onnxruntime-web"
    (folder / "dist").mkdir(parents=True)
    (folder / "package.json").write_text('{"name": "onnxruntime-web", "version": "0.0.1"}')
    (folder / "dist" / "ort.wasm.bundle.min.mjs").write_text("export const env = {};")
    (folder / "dist" / "ort-wasm-simd-threaded.wasm").write_bytes(b"\0asm")
    return folder


def test_a_page_is_a_folder(cli: Any, trained: RunResult, written: None, onnxruntime_web: Path) -> None:
    done = cli("export", trained.best, "--format", "browser-fp32", "--onnxruntime-web", onnxruntime_web, "-o", "site")
    assert done.code == 0
    assert done.out.startswith("site: image N x 3 x 64 x 64 -> parsing N x 11 x 64 x 64, ")
    assert done.err.splitlines() == [
        BEGINNING.format(trained.best, "browser-fp32"),
        "to try the page: python -m http.server --bind 127.0.0.1 --directory site",
    ]
    assert Path("site/onnxruntime/ort.wasm.bundle.min.js").read_text() == "export const env = {};"
    assert "ONNX Runtime Web 0.0.1" in Path("site/index.html").read_text("utf-8")
    assert load_model_from("site/model.onnx").label_set.names


def test_a_page_lies_beside_its_checkpoint(
    cli: Any, trained: RunResult, onnxruntime_web: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[tuple[str, Path]]()

    def keep(self: Exporter, name: str, path: Path, runtime: object) -> ExportReport:
        asked.append((name, path))
        raise ExportError("seen")

    monkeypatch.setattr(Exporter, "export_page", keep)
    for options in ([], ["-o", "pages/one"]):
        done = cli("export", trained.best, "--format", "browser", "--onnxruntime-web", onnxruntime_web, *options)
        assert (done.code, done.err.splitlines()[-1]) == (2, "error: seen")
    assert asked == [("browser", trained.best.parent / "best-browser"), ("browser", Path("pages/one"))]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--onnxruntime-web", "here"], "--onnxruntime-web: is for a page; add --format browser"),
        (["--format", "onnx,browser", "--bundle"], "--bundle: browser is a folder of its own; leave --bundle out"),
        (["--format", "browser", "--preprocessing"], "--preprocessing: the page of browser needs logits; take another "
         "format"),
        (["--format", "browsers"], f"--format 'browsers': not one of {', '.join([*FORMATS, *PAGES])}; did you mean "
         "'browser'?"),
        (["--format", "browser", "--onnxruntime-web", "none.tgz"], "cannot read none.tgz: No such file or directory"),
    ],
)  # fmt: skip
def test_a_page_that_cannot_be_made_is_refused_before_the_work(
    cli: Any, trained: RunResult, tree: Tree, options: list[str], problem: str
) -> None:
    assert cli("export", trained.best, *options).message == problem
    assert tree() == {}


def test_a_page_replaces_no_other_files(
    cli: Any, trained: RunResult, tree: Tree, onnxruntime_web: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "writers", lambda *_, **__: {"onnx": lambda file: pytest.fail()})
    Path("site").mkdir()
    Path("site/mine.html").write_text("mine")
    before = tree()
    options = ("--format", "browser-fp32", "--onnxruntime-web", onnxruntime_web, "-o", "site")
    error = cli("export", trained.best, *options).err.splitlines()[-1]
    assert error == "error: cannot write site: it holds other files (mine.html); name a new folder"
    assert tree() == before


# Into the registry.


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch, bundle: Path) -> None:
    """In the place of the seconds that making an ONNX file takes: the bundle's. It is verified all the same."""
    content = (bundle / "model.onnx").read_bytes()
    monkeypatch.setattr(core, "writers", lambda *_, **__: dict.fromkeys(FORMATS, lambda file: file.write(content)))


@pytest.fixture
def client(store: str) -> MlflowClient:
    return MlflowClient(store, store)


@pytest.mark.parametrize("bundled", [[], ["--bundle"]], ids=["file", "bundle"])
def test_what_is_exported_is_registered(
    cli: Any, trained: RunResult, written: None, client: MlflowClient, bundle: Path, bundled: list[str]
) -> None:
    name = f"exported{len(bundled)}"
    done = cli("export", trained.best, "--output", "best", *bundled, "--register", name, "--alias", "candidate")
    assert (done.code, done.err) == (0, BEGINNING.format(trained.best, "onnx") + "\n")
    assert done.out.splitlines()[-1] == f"registered as models:/{name}/1 (@candidate)"
    version = client.get_model_version_by_alias(name, "candidate")
    assert version.run_id == trained.run_id
    assert version.tags.items() >= {"format": "onnx", "scored_on": "faces", "dataset": "faces"}.items()
    shown = next(line for line in done.out.splitlines() if "mean without background" in line)
    assert f"{100 * float(version.tags['test/f1_mean']):.2f}" in shown
    model = load_model_from(f"models:/{name}@latest")
    assert sorted(path.name for path in model.path.parent.iterdir()) == sorted(path.name for path in bundle.iterdir())
    card = (model.path.parent / "README.md").read_text()
    assert "This file's own scores on 2 photographs of `faces`, split `test`:" in card
    assert Path("best").is_dir() == bool(bundled)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--format", "pt2"], "--register: pt2 needs PyTorch or OpenVINO where it runs; a registered model is one of "
         "onnx, onnx-fp16, onnx-int8"),
        (["--format", "browser"], "--register: browser runs in browsers; a registered model is one of onnx, onnx-fp16, "
         "onnx-int8"),
        (["--format", "onnx,onnx-fp16"], "--register: takes one format at a time, so that the alias is one version's; "
         "name one"),
        (["--register", "a/b"], "--register 'a/b': a name is of letters, digits, '_' and '-'"),
        (["--alias", "v2"], "--alias 'v2': is a version's name; take another"),
    ],
)  # fmt: skip
def test_what_cannot_be_registered_is_refused_before_the_work(
    cli: Any, trained: RunResult, tree: Tree, client: MlflowClient, options: list[str], problem: str
) -> None:
    before = [model.name for model in client.search_registered_models()]
    done = cli("export", trained.best, "--output", "best.onnx", "--register", "refused", *options)
    assert done.message == problem
    assert tree() == {}
    assert [model.name for model in client.search_registered_models()] == before


def test_an_alias_is_of_a_registered_version(cli: Any, trained: RunResult) -> None:
    assert cli("export", trained.best, "--alias", "x").message == (
        "--alias: is of a registered version; add --register NAME"
    )


def test_what_is_not_verified_is_not_registered(
    cli: Any, trained: RunResult, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "writers", lambda *_, **__: {"onnx": lambda file: file.write(b"garbage")})
    done = cli("export", trained.best, "--output", "best.onnx", "--register", "unverified")
    assert done.code == 2
    assert "truncated or damaged" in done.err.splitlines()[-1]
    assert "unverified" not in [model.name for model in client.search_registered_models()]


def test_a_model_without_a_run_goes_to_the_settings_store(
    cli: Any, trained: RunResult, written: None, client: MlflowClient
) -> None:
    content = torch.load(trained.best, weights_only=True)
    torch.save(content | {"run_id": None, "tracking_uri": None}, "alone.pth")
    done = cli("export", "alone.pth", "--register", "alone")
    assert done.out.splitlines()[-1] == "registered as models:/alone/1 (@latest)"
    (version,) = client.search_model_versions("name = 'alone'")
    assert not version.run_id
    assert load_model_from("models:/alone@latest").address == "models:/alone/1"


@pytest.fixture
def light(tmp_path: Path) -> Path:
    """A light network with random weights, whose dataset is not here."""
    options = {"model.backbone": "mobilenet_v2", "data.input_size": "96,96", "data.root": tmp_path / "gone"}
    settings, label_set = load_settings(options=options), get_label_set("helen")
    model = build_model(settings.model, len(label_set))
    packed = pack(model, settings=settings, label_set=label_set, epoch=1, scores={}, run_id=None, tracking_uri=None)
    save(tmp_path / "light.pth", packed)
    return tmp_path / "light.pth"


def test_a_light_network_is_written_for_crops_of_any_size(cli: Any, light: Path, faces: Path) -> None:
    done = cli("export", light, "--format", "torchscript")
    assert done.code == 0
    file = light.with_suffix(".torchscript")
    shapes = "image N x 3 x H x W -> parsing N x 11 x H x W (H and W: multiples of 32 from 64 to 2048)"
    assert done.out.startswith(f"{file}: {shapes}, ")
    assert "one size" not in done.err
    photograph = next((faces / "images").iterdir())
    assert cli("predict", file, photograph, "--input-size", "128,160").message.startswith(
        f"{file}: a .torchscript file can run any code"
    )
    typed = ("predict", file, photograph, "--trust", "--input-size")
    assert cli(*typed, "128,160").out == "predictions: 1 parsed\n"
    refused = cli(*typed, "130,160").message
    assert refused.startswith(f"{file}: takes crops whose sides are multiples of 32 from 64 to 2048, not 130 x 160; ")


def test_one_size_is_told_where_nobody_asked_for_it(cli: Any, light: Path) -> None:
    done = cli("export", light, "--format", "torchscript", "--input-size", "97,96")
    assert "image N x 3 x 97 x 96 -> " in done.out
    assert "for crops of one size: 97 x 96 are not both multiples of 32 from 64 to 2048\n" in done.err
    done = cli("export", light, "--format", "torchscript", "--fixed-size")
    assert "image N x 3 x 96 x 96 -> " in done.out
    assert "one size" not in done.err


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--opset", "99"], "--opset 99: PyTorch writes opsets 18 to 23; name one of them"),
        (
            ["--format", "onnx,pt2", "--opset", "18"],
            "--opset: pt2 has no ONNX operators; leave --opset out, or name ONNX formats alone",
        ),
        (
            ["--layout", "bisenet", "--bundle"],
            "--layout bisenet: does not go together with --bundle; leave one of them out",
        ),
    ],
)
def test_options_of_onnx_that_cannot_be_are_one_line(
    cli: Any, trained: RunResult, asked: list[tuple[str, Path, bool]], options: list[str], problem: str
) -> None:
    done = cli("export", trained.best, *options)
    assert (done.code, done.message) == (2, problem)
    assert not asked


def test_classes_that_do_not_fit_a_layout_are_one_line(cli: Any, trained: RunResult) -> None:
    done = cli("export", trained.best, "--layout", "bisenet", "-o", "x.onnx")
    assert done.code == 2
    assert done.message.startswith("--layout bisenet: label set helen: 'left_brow' is none of BiSeNet's classes (")
    assert not Path("x.onnx").exists()


def test_openvino_without_its_packages_is_one_line(
    cli: Any, trained: RunResult, asked: list[tuple[str, Path, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faceparse.core.export.openvino.find_spec", lambda name: None)
    done = cli("export", trained.best, "--format", "openvino")
    assert (done.code, done.message) == (
        2,
        "OpenVINO's files need openvino: pip install openvino, or '.[openvino]' where faceparse is cloned",
    )
    assert not asked
