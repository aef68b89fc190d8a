"""``mflux-teacache show``: what happened in images that exist, as text and as a picture."""
