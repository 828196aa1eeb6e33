"""Empty tasks through labkit's work queue, beside Celery, Dramatiq, RQ and Huey.

    python benchmarks/queue.py [--quick] [--json FILE]

All use the same Redis, which is started for this, with one worker process at a time. A figure is
the median of several rounds, in which the systems take turns. Each measurement is a process of its
own that fills a queue with empty tasks and then works; the clock runs from the end of a warm-up to
the end of the last task, by a count in the task. Acknowledgement is as late as each can.
"""

from __future__ import annotations

import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve()

if __name__ == "queue":
    # Python looks first where its script is. A script of this folder that wants the standard
    # library's module finds this file, and is handed that module.
    import sysconfig
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("queue", Path(sysconfig.get_path("stdlib"), "queue.py"))
    assert spec is not None
    assert spec.loader is not None
    sys.modules["queue"] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules["queue"])

if __name__ == "__main__":
    folder = str(SCRIPT.parent)
    others = [entry for entry in sys.path if str(Path(entry or ".").resolve()) != folder]
    sys.path[:] = [str(SCRIPT.parent.parent), *others, folder]
    from peers.comparison import main

    sys.exit(main(SCRIPT, __doc__))
