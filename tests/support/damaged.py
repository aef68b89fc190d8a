"""Packages as an interrupted installation, a full disk or a mistake leaves them, each in a folder of its own."""

from __future__ import annotations

from pathlib import Path

METADATA = b"Metadata-Version: 2.1\nName: %b\nVersion: 1.0\n"
POINTS = b"[mflux.plugins]\nlost-%b = nowhere:Nothing\n"


def install(folder: Path) -> list[str]:
    """Make them all; returns the folders of metadata of those whose entry points cannot be read."""
    unreadable = {
        "not_utf8": b"[mflux.plugins]\nx\xff = nowhere:Nothing\n",
        "no_value": b"[mflux.plugins]\nlost\n",
        "no_section": b"lost = nowhere:Nothing\n[mflux.plugins]\nlost\n",
        "zeros": b"[mflux.plugins]\n" + b"\0" * 100 + b"\n",
    }
    readable = {
        "empty": b"",
        "half": b"[mflux.plugins]\nhalf = nowhere:Nothing\n",
        "no_module": b"[mflux.plugins]\nno-module = :\n",
        "odd_names": b"[mflux.plugins]\nnone = nowhere:No\n-x = nowhere:No\n\xe2\x80\xaex = nowhere:No\n",
    }
    for name, points in {**unreadable, **readable}.items():
        info = folder / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_bytes(METADATA % name.encode())
        (info / "entry_points.txt").write_bytes(points)
    (folder / "half-1.0.dist-info" / "METADATA").unlink()
    (folder / "odd_names-1.0.dist-info" / "METADATA").write_bytes(b"Name: \xff\xfe\n")
    (folder / "folder-1.0.dist-info" / "entry_points.txt").mkdir(parents=True)
    (folder / "file-1.0.dist-info").write_bytes(b"\0")
    (folder / "nothing-1.0.dist-info").mkdir()
    return sorted(f"{name}-1.0.dist-info" for name in unreadable)
