"""Runs a Python module that ends when standard input closes: `python -m local.tethered MODULE [argument …]`.

The closing is answered as Ctrl-C would be, so that the module ends as it does for a person: `local.child`.
"""

from __future__ import annotations

import _thread
import os
import runpy
import signal
import sys
import threading
import time

GRACE_SECONDS = 5.0
_WAKE_SECONDS = 0.1


def _end_with_parent() -> None:
    while sys.stdin.buffer.read(4096):
        pass  # nothing is ever sent; what counts is the end
    if os.name == "nt":
        _thread.interrupt_main()
        time.sleep(GRACE_SECONDS)
    else:
        os.kill(os.getpid(), signal.SIGINT)  # a real signal, which also wakes a main thread that waits
        # But not one that is just about to: Python looks for signals, then waits. A second signal ends that.
        main = threading.main_thread().ident or 0
        for _ in range(round(GRACE_SECONDS / _WAKE_SECONDS)):
            time.sleep(_WAKE_SECONDS)
            signal.pthread_kill(main, signal.SIGURG)
    os._exit(1)


if __name__ == "__main__":
    # Shells have what they start in the background ignore it, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.name != "nt":
        signal.signal(signal.SIGURG, lambda *_: None)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
