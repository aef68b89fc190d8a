"""The demo's weight file: what PyTorch trained, under the names and in the layout of mflux's classes."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from mflux_teacache.demo.trainer.torch_codec import Codec
from mflux_teacache.demo.trainer.torch_model import TinyFlux
from mflux_teacache.pieces.output_files import replace_file

_CODEC = "vae."
_STATISTICS = f"{_CODEC}bn."  # in full precision


def export(path: Path, model: TinyFlux, codec: Codec, *, metadata: dict[str, str]) -> None:
    """Half precision but for the codec's statistics; convolutions as MLX has them, channels last."""
    weights = model.state_dict() | {f"{_CODEC}{name}": tensor for name, tensor in codec.state_dict().items()}
    stored = {name: _stored(name, tensor).contiguous().cpu() for name, tensor in weights.items()}
    replace_file(path, save(stored, metadata=metadata))


def load(path: Path, device: torch.device) -> tuple[TinyFlux, Codec]:
    """The models of a weight file, to use."""
    stored = {name: _restored(tensor.float()) for name, tensor in load_file(path).items()}
    model, codec = TinyFlux(), Codec()
    model.load_state_dict({name: tensor for name, tensor in stored.items() if not name.startswith(_CODEC)})
    codec.load_state_dict(
        {name.removeprefix(_CODEC): tensor for name, tensor in stored.items() if name.startswith(_CODEC)}
    )
    return model.to(device).requires_grad_(False), codec.to(device).requires_grad_(False)


def write(path: Path, module: nn.Module) -> None:
    """One of the trainer's own modules as it is."""
    replace_file(path, save({name: tensor.contiguous().cpu() for name, tensor in module.state_dict().items()}))


def _stored(name: str, tensor: Tensor) -> Tensor:
    moved = tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor
    return moved.float() if name.startswith(_STATISTICS) else moved.half()


def _restored(tensor: Tensor) -> Tensor:
    return tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor
