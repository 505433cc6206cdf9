import os
import signal
import threading

import pytest

from faceparse.core.errors import InterruptedRunError
from faceparse.core.machine.stopping import ending_cleanly


def test_sigterm_ends_the_block_as_ctrl_c_does() -> None:
    before, cleaned = signal.getsignal(signal.SIGTERM), False
    with pytest.raises(InterruptedRunError, match=r"^out: stopped$") as caught, ending_cleanly("out: stopped"):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait(60)
        except KeyboardInterrupt:
            cleaned = True
            raise
    assert cleaned
    assert caught.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) == before


def test_ctrl_c_stays_what_it_is() -> None:
    with pytest.raises(KeyboardInterrupt), ending_cleanly("out: stopped"):
        raise KeyboardInterrupt


def test_other_threads_have_no_handlers() -> None:
    done = list[int]()

    def work() -> None:
        with ending_cleanly("out: stopped"):
            done.append(1)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [1]
