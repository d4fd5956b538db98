"""A worker process: takes runs, one JSON line each, on stdin, and says on a pipe how each ended.

What one run imported, tokenised or read stays in memory for the next.
"""

import json
import os
import queue
import signal
import sys
import threading
from dataclasses import asdict
from typing import Any

from glue_pool.cli import guarded
from glue_pool.sweeps.attempt import attempt


def main(pipe: int) -> None:
    """Work until stdin ends; if that happens during a run, its launcher is gone, and the run stops as by SIGTERM."""
    os.set_inheritable(pipe, False)
    runs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    busy, ended = threading.Event(), threading.Event()
    threading.Thread(target=_listen, args=(runs, busy, ended), daemon=True).start()
    with os.fdopen(pipe, "w", encoding="utf-8") as endings:
        while config := runs.get():
            busy.set()
            if ended.is_set():
                return
            ending = attempt(config)
            busy.clear()
            print(json.dumps(asdict(ending)), file=endings, flush=True)


def _listen(runs: "queue.SimpleQueue[dict[str, Any]]", busy: threading.Event, ended: threading.Event) -> None:
    for line in sys.stdin:
        runs.put(json.loads(line))
    ended.set()
    runs.put({})
    if busy.is_set():
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    with guarded():
        main(int(sys.argv[1]))
