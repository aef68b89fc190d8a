"""Where the project is on the web. Messages name the page that helps; nothing here opens a connection.

This is the one place for these addresses: a test holds the package's metadata, the site's settings and the issue forms
to them.
"""

from __future__ import annotations

REPOSITORY = "https://github.com/mflux-teacache-plugin/mflux-teacache-plugin"
SITE = "https://mflux-teacache-plugin.github.io/mflux-teacache-plugin/"


def page(name: str) -> str:
    """The address of a page of the documentation.

    Args:
        name: of its file in ``docs/``, without the suffix.
    """
    return f"{SITE}{name}/"
