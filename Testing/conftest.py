"""Makes ``support`` importable from every test file and bounds the threads of torch."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
