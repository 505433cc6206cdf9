"""Makes the targets of one export: files of formats, their bundles, pages for browsers, a file for another program."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from faceparse.core.errors import SettingsError
from faceparse.core.export.bisenet import BISENET, ENDING, BisenetReport, export_bisenet
from faceparse.core.export.browser.web_runtime import WebRuntime, find_web_runtime
from faceparse.core.export.export import Exporter, ExportReport, beside_model
from faceparse.core.export.formats import FORMATS, PAGES
from faceparse.core.parser.trained import TrainedModel

Report = ExportReport | BisenetReport


@dataclass(frozen=True)
class Target:
    """One file or folder to write."""

    name: str
    """Name of its format, page or layout."""
    purpose: str
    """The same in a sentence, after *exporting a model*."""
    ending: str
    """End of its name where it lies beside the model."""
    write: Callable[[Exporter, Path], Report]

    def place(self, model: TrainedModel, output: Path | None, *, alone: bool) -> Path:
        """Path to write.

        Args:
            output: as the user named it; where this target is not `alone`, the folder of all.
        """
        beside = beside_model(model, self.ending)
        return beside if output is None else output if alone else output / beside.name


def check_pages(formats: Sequence[str], *, bundle: bool, web_runtime: Path | None) -> None:
    """Raise SettingsError where options for pages and bundles do not go together with the formats."""
    page = next((name for name in formats if name in PAGES), None)
    if web_runtime is not None and page is None:
        raise SettingsError("--onnxruntime-web: is for a page; add --format browser")
    if bundle and page is not None:
        raise SettingsError(f"--bundle: {page} is a folder of its own; leave --bundle out")


def make_targets(formats: Sequence[str], *, for_bisenet: bool, bundle: bool, web_runtime: Path | None) -> list[Target]:
    """The targets of an export, in the order of the formats.

    Args:
        for_bisenet: write the layout of BiSeNet instead, which is of ONNX alone.
        web_runtime: the runtime of the pages; None lets npm fetch it, which may take a minute.

    Raises:
        ResourceError, ExportError: the pages' runtime cannot be had, or is damaged.
    """
    if for_bisenet:
        return [Target(BISENET, "for BiSeNet's programs", ENDING, export_bisenet)]
    runtime = find_web_runtime(web_runtime) if any(name in PAGES for name in formats) else None
    targets = []
    for name in formats:
        if runtime is not None and name in PAGES:
            ending, write = f"-{name}", partial(_write_page, name=name, runtime=runtime)
        else:
            ending = f"-{name}.bundle" if bundle else FORMATS[name].suffix
            write = partial(_write_format, name=name, bundle=bundle)
        targets.append(Target(name, f"to {name}", ending, write))
    return targets


def _write_page(exporter: Exporter, path: Path, *, name: str, runtime: WebRuntime) -> ExportReport:
    return exporter.export_page(name, path, runtime)


def _write_format(exporter: Exporter, path: Path, *, name: str, bundle: bool) -> ExportReport:
    return exporter.export(name, path, bundle=bundle)
