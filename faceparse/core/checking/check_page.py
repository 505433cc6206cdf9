"""Writes a dataset's check as one HTML page that needs no other file."""

from pathlib import Path

from faceparse.core.checking.check import CheckReport, ImageSizes
from faceparse.core.datasets.layout import Sample
from faceparse.core.images.overlay import overlay
from faceparse.core.images.read_label import read_label
from faceparse.core.images.read_photograph import read_image
from faceparse.core.pages.html import data_uri, render

PICTURE_SIDE = 320
"""Longer side of the pictures in the page, pixels."""


def check_page(report: CheckReport, root: Path) -> str:
    """HTML page of a report: problems, statistics, the classes' colours and shares, examples with their overlays.

    Raises:
        DatasetError: an example's file was removed after the check.
    """
    count = len(report.problems)
    return render(
        "check.html",
        title=str(root),
        verdict=f"{count} problem{'s' * (count != 1)}" if count else "Nothing wrong",
        problems=report.problems,
        notes=report.notes,
        facts=_facts(report),
        classes=_classes(report),
        examples=[_example(split, sample, report) for split, sample in report.examples],
    )


def _facts(report: CheckReport) -> dict[str, str]:
    facts = {split: f"{count} images" for split, count in report.splits.items()}
    facts["label set"] = f"{report.label_set.name}, {len(report.label_set)} classes"
    if report.order is not None:
        facts["class order"] = f"looks like {report.order}"
    if report.sizes is not None:
        facts["image sizes"] = size_phrase(report.sizes)
    return facts


def size_phrase(sizes: ImageSizes) -> str:
    """Phrase for the images' sizes: `72 x 72`, or the smallest, the largest and the median."""
    smallest, median, largest = (f"{w} x {h}" for w, h in (sizes.smallest, sizes.median, sizes.largest))
    if sizes.distinct == 1:
        return median
    return f"{smallest} to {largest}, median {median}, {sizes.distinct} distinct"


def share_phrase(share: float) -> str:
    """Phrase for a share in percent. A class that is there never gets 0.00."""
    return "<0.01" if 0 < share < 5e-5 else f"{100 * share:.2f}"


def _classes(report: CheckReport) -> list[dict[str, str]]:
    widest = max(found.share for found in report.classes) or 1.0
    return [
        {
            "name": found.name,
            "colour": colour,
            "length": f"{100 * found.share / widest:.1f}" if found.share else "",
            "share": share_phrase(found.share),
            "images": str(found.images),
        }
        for found, colour in zip(report.classes, report.label_set.classes.values(), strict=True)
    ]


def _example(split: str, sample: Sample, report: CheckReport) -> dict[str, str]:
    image = read_image(sample.image)
    painted = overlay(image, read_label(sample.label), report.label_set.palette())
    return {
        "image": data_uri(image, PICTURE_SIDE),
        "labels": data_uri(painted, PICTURE_SIDE),
        "caption": f"{split}: {sample.id}",
    }
