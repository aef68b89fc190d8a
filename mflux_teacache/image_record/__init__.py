"""What an image records of its run (``write``), and the way back (``read``). This is its form; ``keys`` has the names.

It stands under one key of mflux's metadata, in the image and in its ``.metadata.json`` sidecar::

    "mflux_plugins": {
      "schema": 1,
      "pattern": "CSCP",                     one letter per step: C computed, S skipped, P partly reused
      "partly_reused": {"3": "CS"},          the branches of each P; missing if there is none
      "decider": "teacache",                 or null
      "residual_after": 0,                   how many of the body's first blocks ran in every step
      "compile_blocks": true,                missing if it is off
      "plugins": {
        "teacache": {"package": "...", "version": "...", "options": {...}, "values": {...}}
      }
    }

The values are what ``mflux_image_metadata`` gives. Those of ``replay`` hold, under ``replays``, the ``plugin`` whose
decisions it repeated, with its own package, version, options and values.
"""
