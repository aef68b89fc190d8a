"""What MLX computes on."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, requires
from typing import Any

from packaging.requirements import Requirement

from mflux_teacache.cli.own.doctor.page import Part
from mflux_teacache.cli.own.doctor.probe import Failed, answer_of
from mflux_teacache.installation import installing

ASKED = """
import json
import mlx.core as mx
mx.eval(mx.ones(4) + 1)
backends = {name: getattr(mx, name).is_available() for name in ("metal", "cuda") if hasattr(mx, name)}
print(json.dumps({"device": str(mx.default_device()), "backends": backends, "info": mx.device_info()}, default=str))
"""


def mlx_device() -> Part:
    try:
        said: dict[str, Any] = answer_of(ASKED, "mlx-device")
    except Failed as failed:
        return Part("MLX", {"at work": f"no: {failed}"}, [_does_not_work(failed)])
    facts = {
        "default device": said["device"],
        "backends": ", ".join([name for name, available in said["backends"].items() if available] + ["cpu"]),
        "machine": _machine(said["info"]),
    }
    return Part(
        "MLX", facts, [_WITHOUT_METAL] if platform.system() == "Darwin" and not said["backends"]["metal"] else []
    )


def _machine(info: Mapping[str, Any]) -> str:
    size = info.get("memory_size") or info.get("total_memory")
    memory = f", {int(size) / 2**30:.0f} GiB" if size else ""
    return f"{info.get('device_name', '?')}{memory}"


def _does_not_work(failed: Failed) -> str:
    return f"MLX does not work here: {failed}. Install it anew with `{installing(_needed(str(failed)), anew=True)}`."


def _needed(failure: str) -> str:
    """The MLX that the installed mflux asks for; without CUDA, where that is what is missing."""
    try:
        asked = map(Requirement, requires("mflux") or ())
    except PackageNotFoundError:
        return "mlx"
    for one in asked:
        if one.name == "mlx" and (one.marker is None or one.marker.evaluate()):
            extras = ["cpu"] if "libcuda" in failure else sorted(one.extras)
            return f"mlx[{','.join(extras)}]{one.specifier}" if extras else f"mlx{one.specifier}"
    return "mlx"


_WITHOUT_METAL = (
    "MLX has no Metal here, so images take many times as long. Use a Python for Apple silicon: "
    '`python -c "import platform; print(platform.machine())"` must print arm64, and x86_64 means Rosetta.'
)
