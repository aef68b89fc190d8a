"""The command ``mflux-teacache``."""
