"""A worker process that exports one window and says how much memory it took: `python -m bench.worker`."""

import json
import os
import sys
from pathlib import Path

from bench.rig import Rig, export


def main() -> int:
    """Read a rig from standard input, export an hour there, write what came of it to standard output."""
    given = json.loads(sys.stdin.readline())
    os.environ.update(given["environ"])
    import function_app  # so that all is in memory that is in the memory of a worker

    receipt = export(Rig(given["environ"], Path(given["folder"])).app(given["format"]), 0)
    functions = len(function_app.app.get_functions())
    found = {"rows": receipt.rows, "slices": receipt.slices, "peak": peak_bytes(), "functions": functions}
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


def peak_bytes() -> int:
    """Return the most memory that this process had resident so far."""
    status = Path("/proc/self/status")
    if status.is_file():  # Linux, where getrusage also counts the process that this one was forked from
        line = next(each for each in status.read_text("ascii").splitlines() if each.startswith("VmHWM"))
        return int(line.split()[1]) << 10
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    sys.exit(main())
