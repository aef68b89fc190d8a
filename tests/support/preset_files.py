"""A preset as ``tune`` makes it, with changes."""

from __future__ import annotations

from typing import Any

from mflux_teacache.presets.preset import Evidence, Preset, PresetKey, Provenance, Setting

KEY = PresetKey(
    model="black-forest-labs/FLUX.1-dev",
    pipeline="Flux1",
    width=1024,
    height=1024,
    steps=10,
    guidance=3.5,
    bits=8,
    loras={"style.safetensors": 0.8},
    scheduler="LinearScheduler",
)
EVIDENCE = Evidence(
    images=4,
    how="full runs of held-out prompts",
    psnr_mean=31.5,
    psnr_worst=27.0,
    ssim_mean=0.97,
    ssim_worst=0.93,
    fewer_steps_psnr=22.4,
)
SETTINGS = (
    Setting(
        plugin="schedule",
        options={"pattern": "CCSSCSSSSC", "reuse": "output", "forecast": 2},
        computed=4,
        steps=10,
        evidence=EVIDENCE,
    ),
    Setting(
        plugin="teacache",
        options={"max_computed": 6, "coefficients": [1.0, 0.0], "forecast": 1},
        computed=6,
        steps=10,
    ),
)
PROVENANCE = Provenance(
    made="2026-11-27",
    versions={"mflux": "0.24.0"},
    machine="M4",
    fitted_prompts=("a fox",),
    fitted_seeds=(1,),
    checked_prompts=("a cat",),
    checked_seeds=(2, 3),
)


def preset(name: str = "mine", **changes: Any) -> Preset:
    """Its fields, or those of ``Preset``, may be given."""
    fields = {"key": KEY, "settings": SETTINGS, "provenance": PROVENANCE} | changes
    return Preset(name=name, **fields)
