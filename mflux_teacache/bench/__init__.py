"""``mflux-teacache bench``: one program that measures speed, quality and memory.

What is measured is a *subject* (``subjects``), run in *variants* (``variants``). Each image is a *run* (``runs``). It
is timed (``timing``, ``turns``) or judged by the full run (``judging``), also of fewer steps (``baseline``), and goes
on where it was cut off (``unfinished``). Runs come down to *figures* (``figures``),
and these to a *result* (``results``) of tables (``tables``), pictures (``pictures``) and JSON. The commands
are ``speed``, ``quality`` and ``memory``.
"""
