"""`python -m meshd` is `meshd`."""

from __future__ import annotations

import sys

from meshd.cli import main

if __name__ == "__main__":
    sys.exit(main())
