"""Run all benchmarks, or those that are named, and print one table; exit code 1 where a goal is missed."""

import importlib
import sys

from rich.console import Console
from rich.table import Table

from benchmarks.harness import Result

NAMES = ("startup", "edges", "prepare", "scoring", "sample", "loss", "step")


def main() -> int:
    names = sys.argv[1:] or NAMES
    results: list[Result] = []
    for name in names:
        results += importlib.import_module(f"benchmarks.{name}").run()
    table = Table("what", "ours", "peer", "ratio", "goal", "")
    for result in results:
        goal = f"{result.direction} {result.goal:g}"
        seconds = (_milliseconds(result.ours), _milliseconds(result.peer))
        table.add_row(result.what, *seconds, f"{result.ratio:.3g}", goal, "reached" if result.reached else "MISSED")
    Console(width=160).print(table)
    return 0 if all(result.reached for result in results) else 1


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms"


sys.exit(main())
