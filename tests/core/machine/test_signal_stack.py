import importlib.util
import subprocess
import sys

import pytest

CODE = """
import ctypes, faulthandler, os, signal, sys
from contextlib import nullcontext
import numpy, openvino
from openvino import opset13 as ops
from faceparse.core.machine.signal_stack import signal_stack_kept

faulthandler.enable()  # it sets a stack; Python's handlers run on it
kept = signal_stack_kept if sys.argv[1] == "kept" else nullcontext
signal.signal(signal.SIGUSR1, lambda *_: print("handled", flush=True))
number = ops.parameter([1], numpy.float32)
model = openvino.Model([ops.relu(number)], [number])
compiled = []
for _ in range(2):
    with kept():
        compiled.append(openvino.Core().compile_model(model, "CPU"))
del compiled[0]
del compiled[0]
os.kill(os.getpid(), signal.SIGUSR1)
print("went on", flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such stack")
@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")
def test_a_signal_after_openvino_is_handled() -> None:
    """Cores that go in the order in which they came: without the guard, OpenVINO leaves a stack that is gone."""
    done = subprocess.run([sys.executable, "-c", CODE, "kept"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\nwent on\n"), done.stderr
