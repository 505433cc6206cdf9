"""The model card of a bundle: what a stranger needs to use, judge and cite the model."""

from collections.abc import Sequence
from pathlib import Path
from string import Template

from faceparse.core.export.exported import ExportedModel
from faceparse.core.faces.own_finder import finds_faces
from faceparse.core.images.crop import LARGEST, SMALLEST, STEP
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.runtime.checksums import MODULES, PROGRAM
from faceparse.core.runtime.licences import is_identifier
from faceparse.core.runtime.metadata import Foreign
from faceparse.core.scoring.bootstrap import LEVEL
from faceparse.core.scoring.group_scores import GroupScores
from faceparse.core.scoring.report import about, gap_phrases, group_phrase, range_phrase
from faceparse.core.scoring.scores import percent
from faceparse.core.scoring.split import Split
from faceparse.core.scoring.summary import Summary

_UNKNOWN = "The terms of its data are not known to faceparse: ask whoever made them, or trained the model."

_CARD = Template("""\
---
${license}library_name: faceparse
pipeline_tag: image-segmentation
tags:
- face-parsing
- $kind
---

# $title: $classes_count classes, $format

$origin It gives every pixel of a face photograph one of these classes:

| id | class | colour |
|---|---|---|
$classes

$sides

## Use

With faceparse: `faceparse predict THIS_FOLDER photo.jpg`, or in Python

```python
import faceparse

result = faceparse.load("THIS_FOLDER").predict("photo.jpg")
result.labels      # H x W uint8 ids
result.overlay()   # H x W x 3 uint8 RGB
```

${program}Without it, $without

`config.json`, `labels.toml`${settings_file} and `preprocessing.json` hold the same for programs. `sha256sum --check
SHA256SUMS` tells whether all of it is as it was written.

## Data and scores

$training
$scores

## Limits

$limits How well it does on people who are rare in its training data is not known$from_scores.

## Licences

The code of faceparse is MIT. $licence$paper
""")

_PROGRAM = Template(f"""\
With Python 3.11 and `pip install onnxruntime numpy opencv-python-headless` alone: `python {PROGRAM} photo.jpg` $parses
as faceparse does, and writes `photo-labels.png`, whose grey values are the ids, and `photo-overlay.jpg`. It
reads JPEG, and opaque PNG and BMP. `{MODULES}` is its code, a part of faceparse.

""")
_OWN_LIMITS = """\
The network itself expects a crop that one upright face fills, as its training photographs were. `faceparse predict` and
`load().predict` crop and align each face of any photograph, where they know where faces lay in training; other programs
have to."""

_OWN_PAPER = """ The network is that of Te, Liu, Hu, Shi, Mei, *Edge-aware Graph Representation
Learning and Reasoning for Face Parsing*, ECCV 2020."""

_FOREIGN_LIMITS = """\
faceparse did not train this network and does not know where faces lay in its training photographs. So every
photograph is parsed as a whole, where no detector of faces is named."""

_LOGITS = """\
`$file` takes `image`, N x 3 x $size float32: the photograph $fitted,
channels in $order order, `(x / 255 - mean) / std` with mean $mean and std $std.
It answers with `parsing`, N x $count x $size logits; their argmax over the second axis is the id of each pixel."""

_LABELS = """\
`$file` takes `image`, N x $size x 3 uint8 RGB: the photograph $fitted.
It answers with `labels`, N x $size uint8 ids; everything between is inside."""

_WEIGHTS = """\
`$file` holds the network's weights by the keys of faceparse's `state_dict()`, matrices and kernels perhaps in
float16, and no graph. Export it for other programs: `faceparse export THIS_FOLDER` makes an ONNX file of it."""

_FITTED = {
    "crop": Template("scaled into $size with its aspect kept and\ncentred on black"),
    "stretch": Template("stretched to $size, bilinear"),
}

_ANY = Template("H and W are multiples of $step from $smallest to $largest; it was trained with $size.")

_SIDES = {
    "viewer": "of the picture: left is on the left of the picture",
    "subject": "the person's own: left is on the right of the picture",
}


def model_card(
    model: ExportedModel, file: str, format_name: str, summary: Summary | None, scored_on: Split | None
) -> str:
    """Return the card as Markdown. `summary` holds the scores of this file on `scored_on`."""
    data, label_set = model.settings.data, model.label_set
    height, width = data.input_size
    graph = _LOGITS if model.kind == "logits" else _LABELS
    size = f"{height} x {width}" if model.sizes == "fixed" else "H x W"
    without = Template(_WEIGHTS if model.format.holds_weights else graph).substitute(
        file=file,
        size=size,
        fitted=_FITTED[model.fit].substitute(size=size),
        count=len(label_set),
        order=data.channel_order.upper(),
        mean=list(data.mean),
        std=list(data.std),
    )
    if model.sizes == "any":
        without += "\n" + _ANY.substitute(size=f"{height} x {width}", step=STEP, smallest=SMALLEST, largest=LARGEST)
    return _CARD.substitute(
        license=_front_matter(model.licence, label_set.name),
        kind=Path(file).suffix.removeprefix("."),
        classes_count=len(label_set),
        format=format_name,
        classes="\n".join(f"| {i} | {name} | {colour} |" for i, (name, colour) in enumerate(label_set.classes.items())),
        sides=_sides(label_set),
        program=_program(model) if model.format.servable else "",
        without=without,
        scores=_scores(summary, scored_on),
        from_scores=" from the scores above" if summary is not None else ": there are no scores of it here",
        licence=_terms(model.licence),
        **(_of_foreign(model.foreign, label_set.name) if model.foreign else _of_own(model)),
    )


def _sides(label_set: LabelSet) -> str:
    names = [name for pair in label_set.mirror for name in pair]
    if label_set.side == "none" or not names:
        return "No class has a side."
    return f"Left and right in the names of {', '.join(f'`{name}`' for name in names)} are {_SIDES[label_set.side]}."


def _program(model: ExportedModel) -> str:
    finds = finds_faces(model.geometry, model.label_set)
    return _PROGRAM.substitute(parses="finds and parses the faces" if finds else "parses the photograph as a whole")


def _of_own(model: ExportedModel) -> dict[str, str]:
    """Parts of the card for a network that faceparse trained."""
    epoch = f", epoch {model.epoch}" if model.epoch is not None else ""
    return {
        "title": "Face parsing with EAGRNet",
        "origin": f"{model.settings.model.backbone}, trained by faceparse.",
        "settings_file": ", `settings.toml`",
        "training": f"Trained on `{model.settings.data.root.name}` with the label set `{model.label_set.name}`{epoch}.",
        "limits": _OWN_LIMITS,
        "paper": _OWN_PAPER,
    }


def _of_foreign(foreign: Foreign, label_set: str) -> dict[str, str]:
    """Parts of the card for a network that others trained."""
    source = f" from {foreign.source}" if foreign.source else ""
    return {
        "title": f"Face parsing with {foreign.name}",
        "origin": f"`{foreign.file}`{source}, imported by faceparse, which did not train it.",
        "settings_file": "",
        "training": (
            f"Its classes are those of the label set `{label_set}`. Of its training, faceparse knows nothing. The file "
            f"that was imported has the SHA-256 `{foreign.sha256}`; of its outputs, the bundle has `{foreign.output}`."
        ),
        "limits": _FOREIGN_LIMITS,
        "paper": "",
    }


def _front_matter(licence: str | None, label_set: str) -> str:
    """Lines of the card's header that name the licence. Hubs read them and know licences by their names."""
    if licence is None:
        return ""
    return f"license: {licence}\n" if is_identifier(licence) else f"license: other\nlicense_name: {label_set}-terms\n"


def _terms(licence: str | None) -> str:
    if licence is None:
        return _UNKNOWN
    return f"The weights are under the licence {licence}." if is_identifier(licence) else licence


def _scores(summary: Summary | None, split: Split | None) -> str:
    if summary is None or split is None:
        return "This file was not scored on a dataset: none was given when it was written."
    names = [*summary.scores.f1, *summary.scores.merged_f1]
    classes = [(name, *_f1(summary, f"f1/{name}")) for name in names]
    score, span = _f1(summary, "mean_f1")
    mean = ("**mean without background**", f"**{score}**", span)
    where = f"{len(split.samples)} photographs of `{split.root.name}`, split `{split.name}`"
    level = f"{100 * LEVEL:.0f} % interval"
    parts = [
        f"This file's own scores on {where}:",
        _table(("class", "F1 %", level), [*classes, mean]),
        "Intervals are by bootstrap over the photographs.",
    ]
    for name, grouped in summary.groups.items():
        shown = about(name)
        rows = [
            (group_phrase(name, one.group), str(len(one.group.images)), *_f1(one, "mean_f1")) for one in grouped.groups
        ]
        parts += [f"By {shown.title}:", _table((shown.column, "photographs", "mean F1 %", level), rows), shown.note]
        if gap := grouped.gaps.get("mean_f1"):
            size, span, p_value, worst, best = gap_phrases(gap)
            parts.append(
                f"Largest gap: {size} points between {worst} and {best} (interval {span}, p {p_value}; a star: chance "
                "hardly explains it)."
            )
    return "\n\n".join(parts)


def _f1(summary: Summary | GroupScores, name: str) -> tuple[str, str]:
    """Score in percent, and its interval."""
    return percent(summary.scores.get(name)), range_phrase(summary.intervals.get(name))


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
