"""Makes ``support`` importable from every test file and gives each process one thread.

Several test processes with several threads each fight for the cores and take three times as long.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["XDG_CONFIG_HOME"] = os.devnull  # nobody's own defaults
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "Benchmarks"), str(HERE / "Experiments")]
