"""A dataset's check as one HTML page that needs nothing but itself."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

import cv2
import numpy as np

from faceparse.core.checks.check import CheckReport, ImageSizes
from faceparse.core.datasets.layout import Sample
from faceparse.core.evaluation.pictures import overlay
from faceparse.core.files import encode_jpeg, read_image, read_label

PICTURE_SIDE = 320
"""Longer side of the pictures in the page, pixels."""

_PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --bad: #c0392b; --good: #2e8b57; }
@media (prefers-color-scheme: dark) { :root { --bad: #ff7b6b; --good: #5fd08f; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.4rem; overflow-wrap: anywhere; margin-bottom: 0; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
.verdict { font-weight: 600; margin-top: .25rem; }
.bad { color: var(--bad); } .good { color: var(--good); }
ul { list-style: none; padding: 0; }
li { padding: .5rem .75rem; margin: .4rem 0; background: var(--soft); border-left: 4px solid var(--bad);
  overflow-wrap: anywhere; font-size: .9rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: 0; }
dt { opacity: .7; } dd { margin: 0; }
table { border-collapse: collapse; width: 100%; }
td, th { padding: .2rem .4rem; text-align: left; border-bottom: 1px solid var(--line); white-space: nowrap; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.bar { width: 45%; } .bar i { display: block; height: .9rem; border: 1px solid var(--line); box-sizing: border-box; }
.swatch { display: inline-block; width: .9rem; height: .9rem; margin-right: .5rem; vertical-align: -.1rem;
  border: 1px solid var(--line); }
.examples { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 1rem; }
figure { margin: 0; } figure div { display: flex; gap: 2px; } img { width: 50%; height: auto; }
figcaption { font-size: .8rem; opacity: .8; overflow-wrap: anywhere; }
</style>
</head>
<body>
<h1>$title</h1>
<p class="verdict $tone">$verdict</p>
$problems
<h2>Dataset</h2>
<dl>
$facts
</dl>
<h2>Classes and their shares of the labelled pixels</h2>
<table>
<tr><th>class</th><th class="bar"></th><th class="number">share %</th><th class="number">images</th></tr>
$classes
</table>
<h2>Examples</h2>
<div class="examples">
$examples
</div>
</body>
</html>
""")


def check_page(report: CheckReport, root: Path) -> str:
    """The report as HTML: problems, statistics, the classes' colours and shares, examples with their overlays.

    Raises:
        DatasetError: an example has gone since the check.
    """
    count = len(report.problems)
    problems = _lines("<li>{}</li>", report.problems)
    return _PAGE.substitute(
        title=escape(str(root)),
        tone="bad" if count else "good",
        verdict=f"{count} problem{'s' * (count != 1)}" if count else "Nothing wrong",
        problems=f"<ul>\n{problems}\n</ul>" if count else "",
        facts="\n".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in _facts(report).items()),
        classes=_classes(report),
        examples="\n".join(_example(split, sample, report) for split, sample in report.examples),
    )


def _lines(form: str, texts: Sequence[str]) -> str:
    return "\n".join(form.format(escape(text)) for text in texts)


def _facts(report: CheckReport) -> dict[str, str]:
    facts = {split: f"{count} images" for split, count in report.splits.items()}
    facts["label set"] = f"{report.label_set.name}, {len(report.label_set)} classes"
    if report.order is not None:
        facts["class order"] = f"looks like {report.order}"
    if report.sizes is not None:
        facts["image sizes"] = size_phrase(report.sizes)
    return facts


def size_phrase(sizes: ImageSizes) -> str:
    """`72 x 72`, or from which size to which, with the median."""
    smallest, median, largest = (f"{w} x {h}" for w, h in (sizes.smallest, sizes.median, sizes.largest))
    if sizes.distinct == 1:
        return median
    return f"{smallest} to {largest}, median {median}, {sizes.distinct} distinct"


def share_phrase(share: float) -> str:
    """In percent; what is there is never 0.00."""
    return "<0.01" if 0 < share < 5e-5 else f"{100 * share:.2f}"


def _bar(length: float, colour: str) -> str:
    return f'<i style="width: {100 * length:.1f}%; background: {colour}"></i>' if length else ""


def _classes(report: CheckReport) -> str:
    widest = max(found.share for found in report.classes) or 1.0
    return "\n".join(
        f'<tr><td><span class="swatch" style="background: {colour}"></span>{escape(found.name)}</td>'
        f'<td class="bar">{_bar(found.share / widest, colour)}</td>'
        f'<td class="number">{escape(share_phrase(found.share))}</td><td class="number">{found.images}</td></tr>'
        for found, colour in zip(report.classes, report.label_set.classes.values(), strict=True)
    )


def _example(split: str, sample: Sample, report: CheckReport) -> str:
    image = read_image(sample.image)
    painted = overlay(image, read_label(sample.label), report.label_set.palette())
    pictures = "".join(
        f'<img src="{_data_uri(picture)}" alt="{kind}">' for kind, picture in (("image", image), ("labels", painted))
    )
    return f"<figure><div>{pictures}</div><figcaption>{escape(f'{split}: {sample.id}')}</figcaption></figure>"


def _data_uri(picture: np.ndarray) -> str:
    height, width = picture.shape[:2]
    scale = min(1.0, PICTURE_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(small, quality=85)).decode()
