"""The time that a worker has been at work, as another process sees it."""

import faulthandler
import os
import time

from serve.clock import Clock, shared_file


def test_both_ends_see_the_same_time() -> None:
    file = shared_file()
    worker, supervisor = Clock(file), Clock(file)
    os.close(file)
    assert supervisor.seconds == 0
    worker.begin()
    time.sleep(0.02)
    assert 0.02 <= supervisor.seconds < 10
    worker.end()
    assert supervisor.seconds == 0


def test_a_child_that_was_forked_cannot_end_the_time() -> None:
    file = shared_file()
    clock = Clock(file)
    os.close(file)
    clock.begin()
    if (child := os.fork()) == 0:
        faulthandler.disable()
        clock.end()  # ends the child
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert clock.seconds > 0
