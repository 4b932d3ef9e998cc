"""Run the stand-in cloud as a process: `python -m local.cloud --folder F`."""

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue

import msgspec

from local.cloud.cloud import Cloud
from local.cloud.options import Limits, Options


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; one JSON line on standard output says where and with which settings."""
    parser = argparse.ArgumentParser(prog="python -m local.cloud", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="for ca.pem and the app's credentials")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--events", type=int, default=Options.events, help="rows of table Event")
    parser.add_argument("--audits", type=int, default=Options.audits, help="directory audits")
    parser.add_argument("--seed", type=int, default=Options.seed, help="decides every made-up value")
    parser.add_argument("--workspaces", type=int, default=1, help="each with rows of its own")
    parser.add_argument(
        "--basic", type=int, help="rows of the Basic table ContainerLogV2, if there is to be one"
    )
    parser.add_argument("--auxiliary", type=int, help="rows of the Auxiliary table Firewall_CL, likewise")
    parser.add_argument("--end", help="where the made-up data end: an ISO instant, by default now")
    parser.add_argument("--no-throttling", action="store_true", help="no limit to the rate of requests")
    chosen = parser.parse_args(arguments)
    limits = Limits()
    if chosen.no_throttling:
        limits = Limits(queries=None, reports=None, identity_protection=None)
    options = Options(
        seed=chosen.seed,
        events=chosen.events,
        audits=chosen.audits,
        end=chosen.end,
        port=chosen.port,
        limits=limits,
        workspaces=chosen.workspaces,
        basic=chosen.basic,
        auxiliary=chosen.auxiliary,
    )
    stop: SimpleQueue[int] = SimpleQueue()  # safe in a signal handler, as an Event is not
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda number, _: stop.put(number))
    try:
        cloud = Cloud(options, chosen.folder)
        with cloud:
            ready = {"url": cloud.url, "ca_file": str(cloud.ca_file), "environment": cloud.environment()}
            sys.stdout.write(msgspec.json.encode(ready).decode() + "\n")
            sys.stdout.flush()
            while stop.empty():  # in short steps, because Windows delivers no signal to a thread that waits
                time.sleep(0.1)
    except OSError as error:
        sys.stderr.write(f"the stand-in cloud could not start on port {chosen.port}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
