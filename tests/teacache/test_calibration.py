"""The calibrations that are shipped, and which one a model gets."""

import json
from importlib.resources import files

import pytest

from mflux_teacache.errors import Refused
from mflux_teacache.pieces.data_files import calibration_free
from mflux_teacache.records import Target
from mflux_teacache.teacache.calibration import (
    Calibration,
    find,
    is_distilled,
    shipped,
)
from mflux_teacache.teacache.plugin import evaluate

FILES = sorted(files("mflux_teacache.teacache").joinpath("calibrations").iterdir(), key=lambda entry: entry.name)
IDS = [entry.name for entry in FILES]

BFL = "black-forest-labs/"

# What the sources publish, coefficient by coefficient: ali-vilab/TeaCache (dev), welltop-cn/ComfyUI-TeaCache
# (Kontext), mlx-teacache 0.14.1 (the others).
DEV = (498.651651, -283.781631, 55.8554382, -3.82021401, 0.264230861)
KREA = (24.18037744588824, -45.41912128506917, 26.20213376107934, -3.579234954660995, 0.40140693642366004)
KONTEXT = (-1046.55119, 312.563399, -16.9500694, 0.410995971, 0.0374537863)
KLEIN_4B = (236.9190176127698, -201.47401360106662, 66.91354236854073, -11.14796738073235, 1.2674506310647067)
KLEIN_9B = (-523.8412980807129, 530.2492512602308, -177.64385734082498, 20.893264957040557, 0.0)
BASE_4B = (-1841.022165607874, 848.4417137572868, -131.3554469956159, 8.179509586828413, 0.0)
BASE_RANGE = (0.028261402621865273, 0.21984468400478363)

QWEN = (-12.954226906135869, 8.883805167578382, -0.9363839862290331, 1.4538816050570036, 0.0)
QWEN_RANGE = (0.04675976472922664, 0.587799896108221)
QWEN_2512 = (-13.200421839759947, 4.851407025105924, 2.4891133197469846, 0.2453630032662089, 0.0)
QWEN_2512_RANGE = (0.08094493952514002, 0.4705715918534816)
Z_IMAGE = (-898.9907628349583, 367.7086118008557, -45.41511572598643, 3.95114319842774, 0.0)
Z_IMAGE_RANGE = (0.027887196237753466, 0.25914120883567665)

# name: polynomial, range, derived_upper, threshold, window, steps, guidance, r2
PUBLISHED = {
    "flux1-dev": (DEV, None, None, 0.2, None, 25, 3.5, None),
    "flux1-kontext-dev": (KONTEXT, None, 0.18258884631278, 0.22, (0.2, 0.1), None, None, None),
    "flux1-krea-dev": (KREA, None, 0.5624817907085995, 0.3, None, 28, 4.5, 0.6817),
    "flux1-schnell": (DEV, None, None, 0.2, None, 25, 3.5, None),
    "flux2-klein-4b": (KLEIN_4B, None, None, None, None, 8, 1.0, 0.653),
    "flux2-klein-9b": (KLEIN_9B, None, 0.38984140514767196, None, None, 8, 1.0, 0.471),
    "flux2-klein-base-4b": (BASE_4B, BASE_RANGE, None, 0.17, None, 25, 1.0, 0.1064),
    "flux2-klein-base-9b": (BASE_4B, BASE_RANGE, None, 0.17, None, 25, 1.0, None),
    "qwen-image": (QWEN, QWEN_RANGE, None, 0.3, None, 50, 4.0, 0.849),
    "qwen-image-2512": (QWEN_2512, QWEN_2512_RANGE, None, 0.25, None, 50, 4.0, 0.8183),
    "z-image": (Z_IMAGE, Z_IMAGE_RANGE, None, 0.12, None, 50, 4.0, 0.4),
}

# Each mflux model that a shipped calibration serves, and whether it is distilled.
SERVED = {
    "FLUX.1-dev": ("flux1-dev", False),
    "FLUX.1-Fill-dev": ("flux1-dev", False),
    "FLUX.1-Depth-dev": ("flux1-dev", False),
    "FLUX.1-Redux-dev": ("flux1-dev", False),
    "FLUX.1-Kontext-dev": ("flux1-kontext-dev", False),
    "FLUX.1-Krea-dev": ("flux1-krea-dev", False),
    "FLUX.1-schnell": ("flux1-schnell", True),
    "FLUX.2-klein-4B": ("flux2-klein-4b", True),
    "FLUX.2-klein-9B": ("flux2-klein-9b", True),
    "FLUX.2-klein-9b-kv": ("flux2-klein-9b", True),
    "FLUX.2-klein-base-4B": ("flux2-klein-base-4b", False),
    "FLUX.2-klein-base-9B": ("flux2-klein-base-9b", False),
}

# --- the shipped files -----------------------------------------------------------------------------------------------


def test_what_is_shipped():
    """The published ones, and that of the demo's own model."""
    assert list(shipped()) == ["demo-emoji", *PUBLISHED]
    assert {entry.name for entry in FILES} == {f"{name}.json" for name in shipped()}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_figure_is_the_sources(name):
    entry = shipped()[name]
    figures = (entry.polynomial, entry.range, entry.derived_upper, entry.threshold, entry.window)
    assert (*figures, entry.steps, entry.guidance, entry.r2) == PUBLISHED[name]


def test_the_rest_of_what_is_published_for_krea():
    krea = shipped()["flux1-krea-dev"]
    assert (krea.quantize, krea.size, krea.date, krea.mflux_version) == (4, "512x512", "2026-09-05", "0.18")


@pytest.mark.parametrize("entry", FILES, ids=IDS)
def test_every_file_has_every_field_and_says_where_it_comes_from(entry):
    data = json.loads(entry.read_text("utf-8"))
    unknown = {"changes"} if data["name"] in PUBLISHED else set()  # they are only known of what was recorded here
    assert set(data) == {"schema", *Calibration.__dataclass_fields__} - unknown
    assert data["name"] == entry.name.removesuffix(".json")
    assert data["license"] == "Apache-2.0"
    assert ("https://github.com/" in data["source"]) == (data["name"] in PUBLISHED)


@pytest.mark.parametrize("entry", FILES, ids=IDS)
def test_derived_bounds_are_recomputed_here_without_roots(entry):
    """Walk the polynomial in steps of 0.001, by another method than the package's."""
    data = json.loads(entry.read_text("utf-8"))
    if data["range"] is not None:
        assert data["derived_upper"] is None
        return
    bound = walk(data["polynomial"], 3.0)
    if data["derived_upper"] is None:
        assert bound is None
    else:
        assert data["derived_upper"] == pytest.approx(bound, abs=0.001)


def walk(polynomial, end, step=0.001):
    """The last local maximum on a grid, or the last point before the first negative one, if that is earlier."""
    grid = [i * step for i in range(round(end / step))]
    values = [evaluate(polynomial, x) for x in grid]
    inner = range(1, len(grid) - 1)
    maxima = [grid[i] for i in inner if values[i - 1] < values[i] >= values[i + 1]]
    negative = [grid[i] for i in inner if values[i] < 0]
    return min([*maxima[-1:], *negative[:1]], default=None)


def test_which_rows_and_signals_the_published_ones_cover():
    assert {name for name, entry in shipped().items() if entry.rows == "image"} == {"flux1-kontext-dev", "z-image"}
    assert {name for name, entry in shipped().items() if entry.signal != "modulated_input"} == {"z-image"}


def test_models_are_spelt_as_mflux_spells_them():
    config = pytest.importorskip("mflux.models.common.config.model_config")
    known = {entry.model_name for entry in config.AVAILABLE_MODELS.values()}
    later = set() if hasattr(config.ModelConfig, "flux2_klein_9b_kv") else {f"{BFL}FLUX.2-klein-9b-kv"}
    assert {BFL + model for model in SERVED} - known == later


# --- lookup ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", SERVED)
def test_find_by_model(model):
    name, distilled = SERVED[model]
    target = Target(pipeline="Flux1", model=BFL + model)
    assert find(target).name == name
    assert is_distilled(target) == distilled


@pytest.mark.parametrize(
    ("pipeline", "model", "base_model", "name", "exact"),
    [
        ("Flux1", "FLUX.1-dev", None, "flux1-dev", True),
        ("Flux1Controlnet", "FLUX.1-dev", None, "flux1-dev", False),
        ("Flux1InContextDev", "FLUX.1-dev", None, "flux1-dev", False),
        ("Flux1Redux", "FLUX.1-Redux-dev", None, "flux1-dev", False),
        ("Flux1Fill", "FLUX.1-Fill-dev", None, "flux1-dev", False),
        ("Flux1InContextFill", "FLUX.1-Fill-dev", None, "flux1-dev", False),
        ("Flux1Depth", "FLUX.1-Depth-dev", None, "flux1-dev", False),
        ("Flux1", "FLUX.1-Fill-dev", None, "flux1-dev", False),
        ("Flux1Kontext", "FLUX.1-Kontext-dev", None, "flux1-kontext-dev", True),
        ("Flux2Klein", "FLUX.2-klein-base-9B", None, "flux2-klein-base-9b", True),
        ("Flux2KleinEdit", "FLUX.2-klein-base-4B", None, "flux2-klein-base-4b", False),
        ("Flux1", "somebody/finetune", "FLUX.1-Krea-dev", "flux1-krea-dev", False),
        ("Flux1Fill", "somebody/finetune", "FLUX.1-Fill-dev", "flux1-dev", False),
        # The model itself wins over what it says it is based on.
        ("Flux1", "FLUX.1-Krea-dev", "FLUX.1-dev", "flux1-krea-dev", True),
        ("Flux1", "FLUX.1-Depth-dev", "FLUX.1-Krea-dev", "flux1-dev", False),
    ],
)
def test_find(pipeline, model, base_model, name, exact):
    target = Target(
        pipeline=pipeline,
        model=model if "/" in model else BFL + model,
        base_model=base_model and BFL + base_model,
    )
    calibration = find(target)
    assert (calibration.name, calibration.distance(target) == 0) == (name, exact)


@pytest.mark.parametrize("model", ["baidu/ERNIE-Image", "/models/mine", None])
def test_a_model_without_any_is_refused_with_the_alternatives(model):
    with pytest.raises(Refused) as refusal:
        find(Target(pipeline="ErnieImage", model=model))
    message = str(refusal.value)
    assert message.startswith(f"TeaCache has no calibration for {model or 'a model without a name'} (ErnieImage).")
    for alternative in (
        "--teacache-calibration",
        "which --plugin teacache-record makes from a few images; or --teacache-coefficients",
        "--teacache-coefficients",
        BFL + "FLUX.1-dev",
    ):
        assert alternative in message
    assert f"Use one of the plugins that need none ({', '.join(calibration_free())}); or" in message
    assert not is_distilled(Target(pipeline="ErnieImage", model=model))


def test_distance_orders_the_candidates():
    entry = shipped()["flux1-dev"]
    dev, fill, other = BFL + "FLUX.1-dev", BFL + "FLUX.1-Fill-dev", "somebody/finetune"
    targets = [
        Target(pipeline="Flux1", model=dev),
        Target(pipeline="Flux1Fill", model=dev),
        Target(pipeline="Flux1", model=fill),
        Target(pipeline="Flux1Fill", model=fill),
        Target(pipeline="Flux1", model=other, base_model=dev),
        Target(pipeline="Flux1Fill", model=other, base_model=dev),
        Target(pipeline="Flux1", model=other, base_model=fill),
        Target(pipeline="Flux1Fill", model=other, base_model=fill),
        Target(pipeline="Flux1", model=other),
    ]
    assert [entry.distance(target) for target in targets] == [0, 1, 2, 3, 4, 5, 6, 7, None]
