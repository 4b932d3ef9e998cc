#!/usr/bin/env python3
"""One command for developers: python3 dev.py demo | start | run | test | lint | bench (Windows: py dev.py).

Needs Python 3.11 or newer and nothing else: it makes .venv beside itself and installs what the command needs.
"""
# Kept to words that every Python since 2.7 understands, so that an old one can say what is wrong.

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - the one place that an older Python reaches
    sys.exit(
        "dev.py needs Python 3.11 or newer; this is Python %d.%d (%s).\n"  # noqa: UP031 - see above
        "What to do: install a newer Python (https://www.python.org/downloads/) and start dev.py with it,\n"
        "for example: python3.13 dev.py demo (on Windows: py -3.13 dev.py demo)"
        % (sys.version_info[0], sys.version_info[1], sys.executable)
    )

from local.commands import main  # only once this Python is known to understand it

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
