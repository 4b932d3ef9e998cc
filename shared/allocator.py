"""How the C library keeps memory that was freed."""

import contextlib
import sys

_M_MMAP_THRESHOLD = -3  # malloc.h
_LARGE = 16 << 20


def give_back_large_blocks() -> None:
    """Have blocks of 16 MiB and more, which answers are, go back to the system as soon as they are freed.

    By itself glibc keeps blocks as large as any that was freed before, up to 32 MiB, and for each thread
    ("mallopt(3)"), so that answers would take twice their room. Elsewhere this does nothing.
    """
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(AttributeError, OSError):  # another C library
            ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)
