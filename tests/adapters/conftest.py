"""Leaves out the files of models that the installed mflux lacks."""

from __future__ import annotations

from installed import has

# The oldest model of each file; its other ones come and go with ``all_cases``.
NEEDS = {
    "seam/test_body_families_2.py": "ernie_image",
    "seam/test_body_flux3_ideogram4.py": "ideogram4",
    "seam/test_body_moss_fibo2.py": "moss_image",
    "seam/test_body_qwen21.py": "qwen21",
    "seam/test_body_qwen21_controlnet.py": "qwen21.variants.controlnet",
    "seam/test_body_qwen21_edit.py": "qwen21.variants.edit",
    "test_flux2_kv_cache.py": "flux2.model.flux2_transformer.flux2_kv_cache",
    "seam/test_qwen21_compiled.py": "qwen21",
    "test_qwen21_step_reuse.py": "qwen21",
}

collect_ignore = [file for file, module in NEEDS.items() if not has(f"mflux.models.{module}")]
