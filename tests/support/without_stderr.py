"""Runs `python -m` with stderr closed, as `2>&-` does."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    os.close(2)
    os.execv(sys.executable, [sys.executable, "-W", "error", "-m", *sys.argv[1:]])
