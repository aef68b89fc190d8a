"""``mflux-teacache bench``: what skipping steps gains, measured."""
