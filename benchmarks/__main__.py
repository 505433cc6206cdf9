"""Run all benchmarks, or those that are named, and print one table. Exit with 1 where a goal is missed.

`python -m benchmarks gpu` checks a GPU instead.
"""

import importlib
import sys

from rich.console import Console
from rich.table import Table

from benchmarks.harness import Result

NAMES = (
    "startup",
    "edges",
    "prepare",
    "annotations",
    "dedupe",
    "scoring",
    "evaluation",
    "sample",
    "cache",
    "shards",
    "loss",
    "step",
    "predict",
    "on_ray",
    "photographs",
    "export",
    "openvino",
    "foreign",
    "browser",
    "tracking",
    "interruptions",
)


def main() -> int:
    """Run the benchmarks and return the exit code."""
    if sys.argv[1:2] == ["gpu"]:
        from benchmarks import gpu

        return gpu.main(sys.argv[2:])
    names = sys.argv[1:] or NAMES
    results: list[Result] = []
    for name in names:
        results += importlib.import_module(f"benchmarks.{name}").run()
    table = Table("what", "ours", "peer", "ratio", "goal", "")
    for result in results:
        goal = f"{result.direction} {result.goal:g}"
        measured = [_shown(value, result.unit) for value in (result.ours, result.peer)]
        table.add_row(result.what, *measured, f"{result.ratio:.3g}", goal, "reached" if result.reached else "MISSED")
    Console(width=160).print(table)
    return 0 if all(result.reached for result in results) else 1


def _shown(value: float, unit: str) -> str:
    return f"{1000 * value:.3g} ms" if unit == "s" else f"{value:.4g} {unit}".rstrip()


sys.exit(main())
