"""``python -m mflux_teacache.bench``: the command ``mflux-teacache bench`` for a package that is only on the path."""

from __future__ import annotations

import sys

from mflux_teacache.cli.own.main import main

if __name__ == "__main__":
    main(["bench", *sys.argv[1:]])
