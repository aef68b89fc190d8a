"""``mflux-teacache show``: its options, and what it prints and draws."""

from __future__ import annotations

import argparse

from mflux_teacache.pieces.option_types import file_path
from mflux_teacache.pieces.output_files import add_output, check_output, png_of, replace_file, writing
from mflux_teacache.spelling import visible


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``show`` to the commands of ``mflux-teacache``."""
    parser = subparsers.add_parser(
        "show",
        help="tell what happened in an image that exists, step by step; compare several",
        description="Reads what an image, or its .metadata.json, records: the settings, and why each step was computed "
        "or skipped. Several images are compared with the first one. Nothing is loaded, and no model is needed.",
    )
    parser.add_argument("files", nargs="+", type=file_path, metavar="IMAGE|SIDECAR", help="the first is compared with")
    add_output(parser, "--png", help="draw the images and their steps as a PNG")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print, and draw if that is asked for; returns the exit code.

    Raises:
        OptionError: a file cannot be read or records nothing, or the picture cannot be written.
        NotWritten: the picture could not be written.
    """
    from mflux_teacache.image_record.kept import check_is_no_image_of_mflux
    from mflux_teacache.show import comparison, text
    from mflux_teacache.show.files import accounts_of

    if arguments.png is not None:
        check_output("--png", arguments.png, ".png", inputs=arguments.files)
        check_is_no_image_of_mflux("--png", arguments.png)
    accounts = accounts_of(arguments.files, drawn=arguments.png is not None)
    seen = comparison.seen(accounts) if len(accounts) > 1 or arguments.png is not None else []
    print("\n\n".join(map(text.as_text, accounts)))
    if len(accounts) > 1:
        print("\n" + comparison.as_text(seen))
    if arguments.png is not None:
        from mflux_teacache.show.picture import drawn  # matplotlib takes a second to import

        with writing("--png", arguments.png):
            replace_file(arguments.png, png_of(drawn(seen)))
        print(f"\npicture   {visible(arguments.png.absolute())}")
    return 0
