"""For all tests: none of them sees how this user has set up the project for daily work."""

from __future__ import annotations

import os

KEPT = ("IPYFLEET_ROOT", "IPYFLEET_TEST_DATA")  # said to the tests themselves

for name in [name for name in os.environ if name.startswith("IPYFLEET_") and name not in KEPT]:
    del os.environ[name]
