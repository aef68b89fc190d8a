"""What an image records about its run (``write``), and the way back (``read``). ``keys`` has the names of this form.

The record stands under one key of mflux's metadata, in the image and in its ``.metadata.json`` sidecar::

    "mflux_plugins": {
      "schema": 1,
      "pattern": "CSCP",                     one letter per step: C computed, S skipped, P partly reused
      "partly_reused": {"3": "CS"},          the branches of each P; missing if there is none
      "decider": "teacache",                 or null
      "residual_after": 0,                   how many of the body's first blocks ran in every step
      "compile_blocks": true,                missing if it is off
      "steps": {...},                        numbers, reasons and times of each step (``steps``); may be missing
      "plugins": {
        "teacache": {"package": "...", "version": "...", "options": {...}, "values": {...}}
      }
    }

The values are those that ``mflux_image_metadata`` returns. Those of ``replay`` hold, under ``replays``, the ``plugin``
whose decisions it repeated, with that plugin's own package, version, options and values.
"""
