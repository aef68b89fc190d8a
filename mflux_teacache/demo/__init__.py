"""``mflux-teacache demo``: a tiny trained FLUX.2 in mflux's own pipeline, plain and with a plugin."""
