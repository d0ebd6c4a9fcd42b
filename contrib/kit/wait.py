"""Waiting for something to become true: by looking again, with a generous bound, never by guessing a time."""
import os
import time

# How many times slower than a machine of its own this one may be: bounds are stretched by it.
PATIENCE = float(os.environ.get("CRISP_PATIENCE", "1"))


class TimedOut(AssertionError):
    pass


def wait_for(condition, what, seconds=60, pause=0.02):
    """Calls condition until it returns something true, and returns that."""
    seconds *= PATIENCE
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimedOut(f"waited {seconds} s in vain for {what}")
        time.sleep(pause)
