"""Trains: ``python train.py --cfg-path experiments/calce/qvh_stage1 --options run.batch_size=2``.

The familiar door to ``lavis train``; ``torchrun`` starts it in several processes.
"""

from __future__ import annotations

import sys
from pathlib import Path

# A checkout that is not installed works as well.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from lavis.cli import run_script

if __name__ == "__main__":
    run_script("train")
