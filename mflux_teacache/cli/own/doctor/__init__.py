"""``mflux-teacache doctor``: what is installed, whether it works, and what to do where it does not."""
