"""Names what needs Linux, and says so in one line elsewhere. Everything else of faceparse runs on any system.

Locks are in `files/locks.py`: other Unix systems have them, too.
"""

import os
import sys


def many_processes_problem() -> str:
    """Why this system cannot start several training processes; empty where it can."""
    problem = "more than one needs Linux; leave out --processes and --nodes, or name one GPU"
    return "" if sys.platform == "linux" else problem


def shared_cache_problem() -> str:
    """Why loader processes cannot share decoded samples here; empty where they can."""
    return "" if hasattr(os, "memfd_create") else "the cache needs Linux"
