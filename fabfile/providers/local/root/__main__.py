"""Start of the root program: ``sudo -n -- PYTHON -I -S THIS_FOLDER VERB`` with one JSON object on standard input."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

# Python put this folder first on its path; its parent makes it a package, whose modules then import each other.
sys.path[0] = str(Path(__file__).resolve().parent.parent)
sys.exit(import_module("root.verbs").main())
