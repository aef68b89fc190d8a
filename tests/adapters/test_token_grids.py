"""Where the image's tokens are among a signal's rows, on every family: proved by mflux's own way back to an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import all_cases
import mlx.core as mx
import numpy as np
import pytest
from tiny_models import generate

from mflux_teacache import Body, Decision, Step, attach, hookimpl
from mflux_teacache.adapters.families import FAMILIES

CASES = all_cases.cases_of()

HEIGHT, WIDTH = 96, 64  # neither square nor, in tokens, a multiple of the 32 rows that Z-Image pads to
PLACES = ((1, -2), (5, -4))  # lines, and columns from the right: in-context pipelines keep the left half as it is


def test_every_family_has_a_grid() -> None:
    assert [family.name for family in FAMILIES if family.token_grid is None] == []


class Spot:
    """Reuses in the last step what the body added before, and more of it at one token of the grid."""

    def __init__(self, place: tuple[int, int] | None) -> None:
        self.grid: tuple[int, int] | None = None
        self._place = place
        self._residuals: tuple[mx.array | None, ...] = ()

    @hookimpl
    def mflux_pre_transformer(self, step: Step) -> Decision:
        self.grid = step.generation.token_grid
        if step.index < step.active_steps - 1:
            return Decision.compute()
        return Decision.reuse([None if old is None else self._spotted(old, step) for old in self._residuals])

    @hookimpl
    def mflux_post_transformer(self, body: Body) -> None:
        self._residuals = body.residuals

    def _spotted(self, residual: mx.array, step: Step) -> mx.array:
        if self._place is None:
            return residual
        rows = mx.arange(residual.shape[1])[:, None]
        on_grid = step.on_grid(rows[None])
        assert on_grid is not None
        spot = mx.random.normal(residual.shape[2:], key=mx.random.key(0))
        return residual + mx.where(rows == on_grid[0, self._place[0], self._place[1]], spot, 0)


class Decoder:
    """In the place of a VAE: keeps what mflux gives it to decode."""

    def __init__(self, vae: Any) -> None:
        self._vae = vae
        self.latents: list[mx.array] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vae, name)

    def decode(self, latents: mx.array, *args: Any, **kwargs: Any) -> mx.array:
        self.latents.append(latents)
        return self._vae.decode(latents, *args, **kwargs)

    def decode_packed_latents(self, latents: mx.array, *args: Any, **kwargs: Any) -> mx.array:
        self.latents.append(latents)
        return self._vae.decode_packed_latents(latents, *args, **kwargs)


def _latents(model: Any, arguments: dict[str, Any], spot: Spot) -> np.ndarray:
    """``(..., height, width)``, as the VAE gets them; of a model without one, the image itself."""
    vae = getattr(model, "vae", None)
    decoder = Decoder(vae)
    if vae is not None:
        model.vae = decoder
    with attach(model, lambda: spot):
        final = generate(model, **{"num_inference_steps": 3, **arguments, "height": HEIGHT, "width": WIDTH})
    if vae is not None:
        model.vae = vae
    return np.array(decoder.latents[-1] if decoder.latents else final)


def _by_token(latents: np.ndarray, lines: int, columns: int) -> np.ndarray:
    *_, height, width = latents.shape
    squares = latents.reshape(-1, lines, height // lines, columns, width // columns)
    return np.abs(squares).mean(axis=(0, 2, 4))


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("name", CASES)
def test_a_token_of_the_grid_is_its_square_of_the_image(name: str, photo: Path) -> None:
    model, arguments = CASES[name].make(photo)
    plain = _latents(model, arguments, Spot(None))
    for place in PLACES:
        spot = Spot(place)
        changed = _latents(model, arguments, spot) - plain
        assert spot.grid is not None
        by_token = _by_token(changed, *spot.grid)
        line, column = np.unravel_index(by_token.argmax(), by_token.shape)
        assert (line, column - spot.grid[1]) == place, by_token
