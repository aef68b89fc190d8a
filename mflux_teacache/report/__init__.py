"""``mflux-teacache report``: one HTML page about images, measurements and presets that are there as files.

``command`` takes the files, ``files`` tells what each is, a module for each kind makes a section of it, and ``page``
puts the sections into the template.
"""
