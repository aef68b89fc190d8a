"""The check that authors of an entry run on their own model: it passes on mflux's, and a wrong entry is found out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import all_cases
import mlx.core as mx
import pytest
from installed import MFLUX
from tiny_models import generate, same

from mflux_teacache import attach
from mflux_teacache.adapters.families import FAMILIES, FLUX1, FLUX2
from mflux_teacache.adapters.pipelines import family_of
from mflux_teacache.errors import AlreadyAttached, UnsupportedModel
from mflux_teacache.family import Family, Joint, TokenGrid
from mflux_teacache.testing import check_family

pytestmark = pytest.mark.usefixtures("tiny")

CASES = all_cases.cases_of()
IMAGE = {"seed": 1, "prompt": "x", "num_inference_steps": 4, "height": 64, "width": 64}

# Two streams, one stream, one batch for both branches, signals that lie among other rows, caches that are filled.
KINDS = ("flux1-kontext", "flux2-guidance", "flux2-edit-kv", "fibo-guidance", "z-image-guidance", "qwen21-edit")


def made(case: str, photo: Path) -> tuple[Any, Family, dict[str, Any]]:
    model, arguments = CASES[case].make(photo)
    held = next(filter(None, (getattr(model, name, None) for family in FAMILIES for name in family.attributes)))
    return model, family_of(held, list(FAMILIES)), {**IMAGE, **arguments}


@pytest.mark.parametrize("case", [case for case in KINDS if case in CASES])
def test_mflux_s_own_models_are_as_their_entries_say(case: str, photo: Path) -> None:
    model, family, image = made(case, photo)
    classes = {name: type(part) for name, part in model.named_modules()}
    plain = generate(model, **image)
    check_family(model, family, **image)
    assert same(generate(model, **image), plain)
    assert {name: type(part) for name, part in model.named_modules()} == classes


def other_rows_first(family: Family) -> Family:
    first, last = family.body
    assert isinstance(last, Joint)
    return replace(family, body=(first, replace(last, image_first=True)))


def without_the_shift(block: Any, call: Any) -> mx.array:
    (_, scale, _), *_ = call["temb_mod_params_img"]
    return (1 + scale) * block.norm1(call["hidden_states"])


WRONG: list[tuple[str, Callable[[Family], Family], str]] = [
    ("flux1-dev", other_rows_first, r"with its own residual in place of the body \(after 0 blocks\).*image_first"),
    ("flux2-guidance", other_rows_first, r"with its own residual in place of the body.*image_first"),
    ("flux2-guidance", lambda f: replace(f, modulated_input=without_the_shift), "modulated_input is not what Flux2Tr"),
    (
        "flux2-guidance",
        lambda f: replace(f, modulated_input=lambda block, call: call["encoder_hidden_states"]),
        r"the signals have the shapes \(1, 7, 64\) and \(1, 16, 64\), and the body's image stream has \(1, 16, 64\)",
    ),
    ("flux2-guidance", lambda f: replace(f, sigma=lambda call: call["timestep"]), r"noise levels are 1000, .* Look at"),
    ("flux2-guidance", lambda f: replace(f, sigma=lambda call: 0.5), r"noise levels are 0\.5, 0\.5, .* Look at sigma"),
    ("flux2-guidance", lambda f: replace(f, latents="latent_ids"), r"the latents of a step, .*, do not begin with"),
    (
        "flux2-guidance",
        lambda f: replace(f, token_grid=TokenGrid(pixels=8)),
        r"tokens of 8x8 .* Look at token_grid",
    ),
    ("z-image", lambda f: replace(f, token_grid=TokenGrid(pixels=2)), r"tokens of 2x2 .* Look at token_grid"),
    ("iris-base", lambda f: replace(f, made_anew=()), r"step 1 has no guidance branch of .* Look at made_anew"),
    ("z-image", lambda f: replace(f, packed=True), r"latents of shape .* have no row for each of .* Look at packed"),
]


@pytest.mark.parametrize(("case", "spoil", "message"), [wrong for wrong in WRONG if wrong[0] in CASES])
def test_a_wrong_entry_is_found_out(case: str, spoil: Callable[[Family], Family], message: str, photo: Path) -> None:
    model, family, image = made(case, photo)
    plain = generate(model, **image)
    with pytest.raises(UnsupportedModel, match=f"the entry for {family.name} does not describe the model: .*{message}"):
        check_family(model, spoil(family), **image)
    assert same(generate(model, **image), plain)


@pytest.mark.skipif("qwen21-edit-no-cache" not in CASES, reason="mflux before 0.21")
def test_rows_of_the_wrong_end_are_found_out(photo: Path) -> None:
    """Qwen-Image 2.1's edit without its cache: each call has the reference images' rows beside the image's."""
    model, family, image = made("qwen21-edit-no-cache", photo)
    [stage] = family.body
    assert isinstance(stage, Joint)
    turned = replace(stage, image_first=not stage.image_first)
    with pytest.raises(UnsupportedModel, match="does not describe the model"):
        check_family(model, replace(family, body=(turned,)), **image)


def test_what_it_cannot_work_with_is_refused(photo: Path) -> None:
    model, family, image = made("flux2-guidance", photo)
    if MFLUX >= (0, 18):  # before, a schedule of one step divides by zero in mflux itself
        with pytest.raises(UnsupportedModel, match="the image has 1 steps; it takes 2 at least"):
            check_family(model, family, **{**image, "num_inference_steps": 1})
    with attach(model, "first-block-cache"), pytest.raises(AlreadyAttached):
        check_family(model, family, **image)


def test_the_names_that_the_cases_spoil_are_those_of_the_entries() -> None:
    assert isinstance(FLUX1.body[1], Joint)
    assert (FLUX2.latents, FLUX2.packed) == ("latents", True)
