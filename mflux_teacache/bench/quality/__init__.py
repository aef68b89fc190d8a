"""``mflux-teacache bench quality``: how far images with skipped steps are from the full run."""
