"""What a launcher starts in the tests that need FSDP2: the command ``lavis``, ended without Python's own shutdown.

``torchrun --nproc-per-node 2 -m tests.command_of_processes train CONFIG``
"""

from __future__ import annotations

import faulthandler
import os
import sys

from lavis.cli import main
from lavis.common import distributed

if __name__ == "__main__":
    # A process that waits for another for ever must not outlive the test.
    faulthandler.dump_traceback_later(800, exit=True)
    status = main()
    sys.stdout.flush()
    if status == 0:
        distributed.barrier()
    # torch 2.13 now and then aborts while Python shuts down after FSDP2 on a CPU, even in the smallest program.
    os._exit(status)
