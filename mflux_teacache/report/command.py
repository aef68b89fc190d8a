"""``mflux-teacache report``: its options, and the page that it writes."""

from __future__ import annotations

import argparse
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mflux_teacache.bench.needs import require
from mflux_teacache.discovery import PACKAGE
from mflux_teacache.pieces.option_types import file_path
from mflux_teacache.pieces.output_files import check_output, replace_file, writing
from mflux_teacache.spelling import visible

OUTPUT = Path("mflux-teacache-report.html")
TITLE = "Step skipping in mflux"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``report`` to the commands of ``mflux-teacache``."""
    parser = subparsers.add_parser(
        "report",
        help="write one HTML page about images, measurements and presets",
        description="Writes one HTML page that needs no other file and no network: images beside their full run with a "
        "slider, their steps, and what bench, tune, a shadow run or a recorder have written as JSON.",
    )
    parser.add_argument(
        "files",
        nargs="+",
        type=file_path,
        metavar="FILE",
        help="images, in any order, their sidecars, and JSON files",
    )
    parser.add_argument(
        "--output", type=file_path, default=OUTPUT, metavar="HTML", help="the page (default: %(default)s)"
    )
    parser.add_argument("--title", default=TITLE, metavar="TEXT", help="of the page (default: %(default)s)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the page; returns the exit code.

    Raises:
        Refused: jinja2 is missing, or a file cannot be read or be written.
        NotWritten: the page could not be written.
    """
    require("jinja2", "skimage", extra="report")
    check_output("--output", arguments.output, ".html", inputs=arguments.files)

    from mflux_teacache.report.files import sections_of
    from mflux_teacache.report.page import rendered

    page = rendered(arguments.title, sections_of(arguments.files), _made_by())
    with writing("--output", arguments.output):
        replace_file(arguments.output, page.encode())
    print(f"report  {visible(arguments.output.absolute())} ({len(page) / 1e6:.1f} MB)")
    return 0


def _made_by() -> str:
    try:
        return f"{PACKAGE} {version(PACKAGE)}"
    except PackageNotFoundError:  # the package is on the path, but was never installed
        return PACKAGE
