"""The folder: which files, what they say of the model, and what it may replace."""

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import faceparse
from faceparse.core.errors import FaceparseError, OutputError
from faceparse.core.export import export as core
from faceparse.core.export.browser.page_folder import PAGE_MODEL, fill_page, page_facts, refuse_other_than_page
from faceparse.core.export.browser.web_runtime import WebRuntime, find_web_runtime
from faceparse.core.export.export import Exporter
from faceparse.core.export.exported import ExportedModel, read_exported
from faceparse.core.export.formats import FORMATS
from faceparse.core.faces import candidates, measure
from faceparse.core.faces.finder import FinderOptions
from faceparse.core.faces.geometry import FaceGeometry
from faceparse.core.images.crop import normalise
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.parser.checkpoint_file import read_checkpoint
from faceparse.core.training.run import RunResult

GEOMETRY = FaceGeometry(
    centres=((0.35, 0.4), (0.65, 0.4), (0.5, 0.55), (0.5, 0.72)),
    points=((0.35, 0.4), (0.65, 0.4), (0.5, 0.57), (0.4, 0.72), (0.6, 0.72)),
    spread=((0.01, 0.01),) * 4,
    areas=(0.01, 0.01, 0.02, 0.03),
    count=10,
)


@pytest.fixture
def runtime(package: Path) -> WebRuntime:
    return find_web_runtime(package)


@pytest.fixture
def model(bundle: Path) -> ExportedModel:
    return read_exported(bundle / "model.onnx", FORMATS["onnx"])


def test_the_folder_holds_all_that_the_page_asks_for(model: ExportedModel, runtime: WebRuntime, tmp_path: Path) -> None:
    fill_page(tmp_path, model, "<best>.pth", runtime)
    for script in tmp_path.glob("*.js"):
        text = script.read_text("utf-8")
        named = re.findall(r'(?:from|load\(|new URL\()\s*"(?:\./)?([\w./-]+\.\w+)"', text)
        assert not [name for name in named if name != PAGE_MODEL and not (tmp_path / name).is_file()]
        assert not re.search(r"https?://", text)
    assert {path.read_bytes() for path in (tmp_path / "onnxruntime").iterdir()} == set(runtime.files.values())
    page = (tmp_path / "index.html").read_text("utf-8")
    assert "<best>" not in page
    assert "&lt;best&gt;.pth" in page
    asked = _Links()
    asked.feed(page)
    assert {"style.css", "ask.js", "app.js", "camera.js"} <= set(asked.found)
    assert not [name for name in asked.found if name != "data:," and not (tmp_path / name).is_file()]


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found += [value for key, value in attributes if key in ("src", "href") and value]


@pytest.mark.parametrize(
    ("licence", "shown"),
    [
        ("cc-by-4.0", "the licence cc-by-4.0."),
        ("Not for <sale>.", "Not for &lt;sale&gt;."),
        (None, "not known to faceparse: ask whoever made it."),
    ],
)
def test_the_terms_are_on_the_page(
    model: ExportedModel, runtime: WebRuntime, tmp_path: Path, licence: str | None, shown: str
) -> None:
    changed = dataclasses.replace(model, own_licence=licence, label_set=get_label_set("helen"))
    fill_page(tmp_path, changed, "best.pth", runtime)
    page = (tmp_path / "index.html").read_text("utf-8")
    assert f"<b>Terms of the model:</b> {shown}</p>" in page
    assert json.loads((tmp_path / "model.json").read_text("utf-8"))["licence"] == licence


def test_the_numbers_are_those_of_predict(model: ExportedModel) -> None:
    wide = dataclasses.replace(model, geometry=GEOMETRY, label_set=get_label_set("celebamask-hq"), sizes="any")
    facts = json.loads(json.dumps(page_facts(wide)))
    assert facts["finder"]["side"] == FinderOptions.side
    assert facts["finder"]["parts"] == [list(ids) for ids in wide.label_set.part_ids()]
    assert facts["finder"]["glasses"] == list(wide.label_set.glasses_ids())
    assert facts["finder"]["geometry"]["centres"] == [list(pair) for pair in GEOMETRY.centres]
    assert facts["finder"]["rules"]["minPeak"] == candidates.MIN_PEAK
    assert facts["finder"]["rules"]["glasses"] == measure.GLASSES
    assert (facts["input"]["least"], facts["input"]["most"]) == ([64, 64], [2048, 2048])
    fixed = page_facts(dataclasses.replace(wide, sizes="fixed"))
    assert (fixed["input"]["least"], fixed["input"]["most"]) == ((64, 64), (64, 64))
    assert fixed["finder"]["crop"] == 64


def test_the_scripts_ask_for_no_number_that_is_missing(model: ExportedModel) -> None:
    facts = page_facts(dataclasses.replace(model, geometry=GEOMETRY, label_set=get_label_set("celebamask-hq")))
    static = Path(faceparse.__file__).parent / "core" / "export" / "browser" / "static"
    text = "".join(path.read_text("utf-8") for path in static.glob("*.js"))
    used = set(re.findall(r"\brules\.(\w+)", text))
    assert len(used) > 10
    assert used <= {*facts["finder"]["rules"], *facts["crops"]}
    unused = [name for name in facts["finder"]["rules"] if not re.search(rf"\b{name}\b", text)]
    assert not unused


def test_scale_and_shift_normalise(model: ExportedModel) -> None:
    data, given = model.settings.data, page_facts(model)["input"]
    crops = np.random.default_rng(0).integers(0, 256, (1, 4, 5, 3), np.uint8)
    expected = normalise(crops, bgr=data.channel_order == "bgr", mean=data.mean, std=data.std)
    planes = crops[..., ::-1] if given["bgr"] else crops
    found = planes * np.array(given["scale"]) + np.array(given["shift"])
    assert np.allclose(found.transpose(0, 3, 1, 2), expected, atol=1e-6)


def test_without_aligned_training_pictures_no_faces_are_looked_for(model: ExportedModel) -> None:
    assert page_facts(dataclasses.replace(model, geometry=None))["finder"] is None
    loose = dataclasses.replace(GEOMETRY, spread=((0.2, 0.2),) * 4)
    assert page_facts(dataclasses.replace(model, geometry=loose))["finder"] is None


def test_only_a_page_is_replaced(model: ExportedModel, runtime: WebRuntime, tmp_path: Path) -> None:
    site = tmp_path / "site"
    refuse_other_than_page(site)
    site.mkdir()
    refuse_other_than_page(site)
    fill_page(site, model, "best.pth", runtime)
    refuse_other_than_page(site)
    (site / "CNAME").write_text("mine")
    with pytest.raises(OutputError) as caught:
        refuse_other_than_page(site)
    assert str(caught.value) == f"cannot write {site}: it holds other files (CNAME); name a new folder"


def test_a_page_is_exported_whole_or_not_at_all(
    trained: RunResult, bundle: Path, runtime: WebRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (bundle / "model.onnx").read_bytes()
    monkeypatch.setattr(core, "writers", lambda *_, **__: {"onnx": lambda file: file.write(content)})
    exporter = Exporter(read_checkpoint(trained.best))
    report = exporter.export_page("browser-fp32", tmp_path / "site", runtime)
    assert (report.format, report.path) == ("browser-fp32", tmp_path / "site")
    assert report.model.path == tmp_path / "site" / PAGE_MODEL
    assert report.model.path.read_bytes() == content
    assert faceparse.load(report.model.path).names == exporter.checkpoint.label_set.names
    assert str(trained.best.parent) not in (tmp_path / "site" / "index.html").read_text("utf-8")
    before = {path: path.read_bytes() for path in (tmp_path / "site").rglob("*") if path.is_file()}
    monkeypatch.setattr(core, "writers", lambda *_, **__: {"onnx": lambda file: file.write(b"garbage")})
    with pytest.raises(FaceparseError):
        Exporter(read_checkpoint(trained.best)).export_page("browser-fp32", tmp_path / "site", runtime)
    assert {path: path.read_bytes() for path in (tmp_path / "site").rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir() if path.name != "onnxruntime-web"] == ["site"]
