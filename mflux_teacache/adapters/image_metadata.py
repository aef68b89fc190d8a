"""What mflux wrote into an image about how it was made."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any


def embedded(path: Path) -> dict[str, Any] | None:
    """The metadata inside an image; ``None`` if there is none that mflux can read.

    Raises:
        OSError: there is no such file.
    """
    from mflux.utils.metadata_reader import MetadataReader

    path.stat()  # mflux's reader gives None for a file that is not there
    try:
        metadata: dict[str, Any] | None = MetadataReader.read_exif_metadata(path)
    except struct.error:  # of an EXIF block that is cut off
        return None
    return metadata
