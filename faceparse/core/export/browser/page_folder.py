"""The folder for a static host.

index.html style.css              the page, which loads nothing from elsewhere
app.js ask.js camera.js           the page's script; app.js is that of `faceparse web`
worker.js and its modules         from a photograph to its labels, as `faceparse predict` computes them
model.onnx model.json             the network, and all that the scripts need to know about it
onnxruntime/                      the runtime, as its package has it
"""

import json
from dataclasses import asdict
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from faceparse.core.export.browser.web_runtime import WebRuntime
from faceparse.core.export.exported import ExportedModel
from faceparse.core.faces import candidates, crops, finder, measure
from faceparse.core.faces.film_tracker import SEARCH_EVERY
from faceparse.core.faces.geometry import EYES
from faceparse.core.faces.own_finder import BOX, MIN_FACE, finder_options, finds_faces
from faceparse.core.faces.windows import ANY, fixed
from faceparse.core.files.writing import make_folder, refuse_other_files, write_atomic
from faceparse.core.images.crop import STEP, scale_and_shift
from faceparse.core.images.read_photograph import MEAN_COLOUR
from faceparse.core.pages.html import render
from faceparse.core.runtime.licences import is_identifier

PAGE_MODEL, RUNTIME = "model.onnx", "onnxruntime"
_TEXTS = ("index.html", "style.css", "app.js", "model.json")

MAX_BYTES = 100_000_000
"""Largest photograph as a file. The page decodes it in memory."""

POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "worker-src 'self' blob:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
)
"""Rights that the browser gives the page: it asks its own host alone."""

_UNKNOWN = "not known to faceparse: ask whoever made it."


def fill_page(folder: Path, model: ExportedModel, name: str, runtime: WebRuntime) -> None:
    """Add all other files to a folder that holds model.onnx.

    Args:
        model: the model in the folder, whose graph answers with logits.
        name: name of the model, as the page shows it.
    """
    texts = (
        _index(model, name, runtime),
        "".join(render(part) for part in ("page.css", "web.css", "browser.css")),
        render("web.js"),
        json.dumps(page_facts(model), indent=1) + "\n",
    )
    for file, text in zip(_TEXTS, texts, strict=True):
        write_atomic(folder / file, text.encode())
    for script in _scripts():
        write_atomic(folder / script.name, script.read_bytes())
    make_folder(folder / RUNTIME)
    for file, content in runtime.files.items():
        # Not every host knows that .mjs is JavaScript, without which browsers refuse it.
        write_atomic((folder / RUNTIME / file).with_suffix(".js" if file.endswith(".mjs") else ".wasm"), content)


def refuse_other_than_page(folder: Path) -> None:
    """Check that a folder can be replaced by a page: that it is new or empty, or holds an earlier page alone.

    Raises:
        OutputError: it holds something else, which would be lost.
    """
    refuse_other_files(folder, {*_TEXTS, PAGE_MODEL, RUNTIME, *(script.name for script in _scripts())})


def _scripts() -> list[Traversable]:
    return [one for one in (files(__package__) / "static").iterdir() if one.name.endswith(".js")]


def _index(model: ExportedModel, name: str, runtime: WebRuntime) -> str:
    height, width = model.settings.data.input_size
    label_set = model.label_set
    return render(
        "browser.html",
        title="faceparse",
        policy=POLICY,
        model={"name": name, "classes": _classes(model), "maxBytes": MAX_BYTES},
        facts={
            "model": name,
            "classes": f"{len(label_set)} of {label_set.name}",
            "input": f"{height} x {width}",
        },
        megabytes=MAX_BYTES // 10**6,
        terms=_terms(model.licence),
        runtime=runtime.version,
    )


def _terms(licence: str | None) -> str:
    if licence is None:
        return _UNKNOWN
    return f"the licence {licence}." if is_identifier(licence) else licence


def _classes(model: ExportedModel) -> list[dict[str, str]]:
    return [{"name": class_, "colour": colour} for class_, colour in model.label_set.classes.items()]


def page_facts(model: ExportedModel) -> dict[str, Any]:
    """Content of model.json: all that the scripts know of the model and of how `predict` uses it."""
    data = model.settings.data
    scale, shift = scale_and_shift(data.mean, data.std)
    sizes = ANY if model.sizes == "any" else fixed(data.input_size)
    return {
        "classes": _classes(model),
        "licence": model.licence,
        "meanColour": MEAN_COLOUR,
        "input": {
            "size": data.input_size,
            "least": sizes.least,
            "most": sizes.most,
            "step": STEP,
            "bgr": data.channel_order == "bgr",
            "scale": scale.tolist(),
            "shift": shift.tolist(),
        },
        "crops": {"wider": crops.WIDER, "seam": crops.SEAM, "sameView": crops.SAME_VIEW, "box": BOX},
        "finder": _finder(model),
    }


def _finder(model: ExportedModel) -> dict[str, Any] | None:
    """Constants of the search for faces; None where the model cannot find any: pictures are parsed as a whole."""
    geometry, label_set = model.geometry, model.label_set
    if geometry is None or not finds_faces(geometry, label_set):
        return None
    sizes = ANY if model.sizes == "any" else fixed(model.settings.data.input_size)
    options = asdict(finder_options(sizes, MIN_FACE))
    return {
        **{("minFace" if key == "min_face" else key): value for key, value in options.items()},
        "searchEvery": SEARCH_EVERY,
        "parts": label_set.part_ids(),
        "glasses": label_set.glasses_ids(),
        "geometry": {"centres": geometry.centres, "areas": geometry.areas},
        "rules": {
            "eyes": len(EYES),
            "faceShare": finder.FACE_SHARE,
            "smallest": finder.SMALLEST_SIDE,
            "firstLooks": finder.FIRST_LOOKS,
            "apart": candidates.APART,
            "apartAcrossScales": finder.APART_ACROSS_SCALES,
            "minPeak": candidates.MIN_PEAK,
            "maxPeaks": candidates.MAX_PEAKS,
            "minSupport": candidates.MIN_SUPPORT,
            "maxAngle": float(candidates.MAX_ANGLE),
            "sizes": candidates.SIZES,
            "reach": candidates.REACH,
            "blur": candidates.BLUR,
            "leastBlur": candidates.LEAST_BLUR,
            "around": measure.AROUND,
            "minEvidence": measure.MIN_EVIDENCE,
            "glasses": measure.GLASSES,
            "enough": measure.ENOUGH,
            "leastScale": measure.LEAST_SCALE,
            "distance": measure.DISTANCE,
        },
    }
