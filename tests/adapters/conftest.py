"""Leaves out the files of families that the installed mflux lacks."""

from __future__ import annotations

from installed import has

# The oldest family of each file; its other ones come and go with ``all_cases``.
FAMILY = {
    "test_body_families_2.py": "ernie_image",
    "test_body_flux3_ideogram4.py": "ideogram4",
    "test_body_moss_fibo2.py": "moss_image",
}

collect_ignore = [file for file, family in FAMILY.items() if not has(f"mflux.models.{family}")]
