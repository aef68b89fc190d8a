import json
import math
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mflux_teacache.alternatives import calibration_free
from mflux_teacache.errors import OptionError, Refused
from mflux_teacache.records import Target
from mflux_teacache.teacache.calibration import (
    Calibration,
    derive_upper,
    find,
    is_distilled,
    load,
    shipped,
    smallest_prediction,
)
from mflux_teacache.teacache.policy import evaluate

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

# --- the shipped files -------------------------------------------------------------------------------------------


def test_what_is_shipped():
    """The published ones, and that of the demo's own model."""
    assert list(shipped()) == ["demo-tinyflux", *PUBLISHED]
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
    assert set(data) == {"schema", *Calibration.__dataclass_fields__}
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


# --- bounds ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("polynomial", "upper"),
    [
        ((1.0, 0.0), None),  # rises for ever
        ((2.0,), None),  # constant
        ((1.0, -1.0, 0.5), None),  # dips to 0.25, never negative
        ((-1.0, 1.0), 1.0),  # falls from the start, negative above 1
        ((-1.0, 2.0, 0.0), 1.0),  # maximum at 1, negative above 2
        ((1.0, -3.0, 2.0), 1.0),  # negative between 1 and 2
        ((1.0, -6.0, 9.0, 1.0), 1.0),  # maximum at 1, minimum 1 at 3, then up for ever
        ((-1.0, 0.0, 0.0), 0.0),  # negative from the start
        ((-1.0,), 0.0),
        ((0.0, 0.0, 1.0, 0.0), None),  # leading zeros
        ((0.0,), None),
    ],
)
def test_derive_upper(polynomial, upper):
    assert derive_upper(polynomial) == (None if upper is None else pytest.approx(upper))


coefficients = st.lists(st.integers(-8, 8).map(float), min_size=1, max_size=5).map(tuple)


@given(coefficients, st.fractions(0, 6, max_denominator=97).map(float))
def test_nothing_under_the_bound_is_negative(polynomial, x):
    bound = derive_upper(polynomial)
    if bound is None or x < bound:
        assert evaluate(polynomial, x) >= -1e-9


@given(coefficients)
def test_right_after_the_bound_it_falls(polynomial):
    bound = derive_upper(polynomial)
    if bound is not None:
        assert evaluate(polynomial, bound + 1e-4) < max(0.0, evaluate(polynomial, bound)) + 1e-12


@given(coefficients, st.floats(0, 1), st.floats(0, 3), st.floats(0, 1))
def test_no_prediction_is_under_the_floor(polynomial, lower, width, place):
    floor = smallest_prediction(polynomial, lower, lower + width)
    assert max(0.0, evaluate(polynomial, lower + place * width)) >= floor - 1e-9


@pytest.mark.parametrize(
    ("polynomial", "lower", "upper", "floor"),
    [
        ((1.0, 0.0), 0.0, math.inf, 0.0),
        ((1.0, 0.0), 0.25, 1.0, 0.25),
        ((-1.0, 1.0), 0.0, 0.25, 0.75),
        ((-1.0, 1.0), 0.0, math.inf, 0.0),  # negative counts as 0
        ((-1.0, 50.0), 0.0, math.inf, 0.0),  # however far out
        ((1.0, -1.0, 0.5), 0.0, math.inf, 0.25),  # at 0.5
        ((1.0, -1.0, 0.5), 0.0, 0.25, 0.3125),  # the minimum is outside
    ],
)
def test_smallest_prediction(polynomial, lower, upper, floor):
    assert smallest_prediction(polynomial, lower, upper) == pytest.approx(floor)


@pytest.mark.parametrize(
    ("name", "floor"), [("flux1-dev", 0.1803), ("flux1-krea-dev", 0.2598), ("flux2-klein-base-4b", 0.1442)]
)
def test_floors_of_the_shipped_ones(name, floor):
    assert shipped()[name].floor == pytest.approx(floor, abs=1e-4)


def test_limits():
    assert (shipped()["flux1-dev"].lower, shipped()["flux1-dev"].upper) == (0.0, math.inf)
    assert shipped()["flux1-krea-dev"].upper == pytest.approx(0.56248, abs=1e-5)
    assert (shipped()["flux2-klein-base-4b"].lower, shipped()["flux2-klein-base-4b"].upper) == BASE_RANGE


def test_coefficients_by_hand_have_no_limits():
    by_hand = Calibration.by_hand(KONTEXT)
    assert (by_hand.polynomial, by_hand.lower, by_hand.upper) == (KONTEXT, 0.0, math.inf)
    assert (by_hand.threshold, by_hand.window) == (None, None)


# --- lookup ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", SERVED)
def test_find_by_model(model):
    name, distilled = SERVED[model]
    target = Target(pipeline="Flux1", model=BFL + model)
    assert find(target).calibration.name == name
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
    match = find(target)
    assert (match.calibration.name, match.exact) == (name, exact)


@pytest.mark.parametrize("model", ["baidu/ERNIE-Image", "/models/mine", None])
def test_a_model_without_any_is_refused_with_the_alternatives(model):
    with pytest.raises(Refused) as refusal:
        find(Target(pipeline="ErnieImage", model=model))
    message = str(refusal.value)
    assert message.startswith(f"TeaCache has no calibration for {model or 'a model without a name'} (ErnieImage).")
    for alternative in (
        "--teacache-calibration",
        "docs/adding-a-model.md",
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


# --- files of one's own ------------------------------------------------------------------------------------------

MINE = {
    "schema": 1,
    "name": "mine",
    "model": "somebody/finetune",
    "pipelines": ["Flux1"],
    "signal": "first_block_residual",
    "rows": "image",
    "polynomial": [-1.0, 2.0, 0.0],
    "source": "measured here",
}


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "mine.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
        return path

    return write


def test_load_a_shipped_name():
    assert load("flux1-dev") is shipped()["flux1-dev"]


def test_load_a_file_with_the_least_that_it_needs(write):
    mine = load(write(MINE))
    assert mine.polynomial == (-1.0, 2.0, 0.0)
    assert (mine.pipelines, mine.stand_in_for, mine.distilled, mine.r2) == (("Flux1",), (), False, None)
    assert mine.derived_upper == pytest.approx(1.0)  # computed where the file does not say


def test_load_a_file_with_everything(write):
    content = FILES[IDS.index("flux1-kontext-dev.json")].read_text("utf-8")
    assert load(write(content)) == shipped()["flux1-kontext-dev"]


def test_a_range_needs_no_derived_bound(write):
    mine = load(write(MINE | {"range": [0.1, 1.5]}))
    assert (mine.derived_upper, mine.lower, mine.upper) == (None, 0.1, 1.5)


def test_a_name_without_separator_or_suffix_is_not_a_file(write, monkeypatch):
    path = write(MINE)
    monkeypatch.chdir(path.parent)
    path.rename(path.parent / "mine")
    with pytest.raises(OptionError, match=r"no calibration 'mine'. It has: .*flux1-dev, .*\./mine\.json"):
        load("mine")
    assert load("./mine").name == "mine"


def test_a_bare_file_name_and_a_home_directory_are_paths(write, monkeypatch):
    path = write(MINE)
    monkeypatch.chdir(path.parent)
    monkeypatch.setenv("HOME", str(path.parent))
    assert load("mine.json") == load("~/mine.json") == load(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(OptionError, match=r"cannot read the calibration .*none\.json.*or one of the names .*flux1-dev"):
        load(tmp_path / "none.json")


def test_a_file_that_is_not_text(tmp_path):
    (tmp_path / "mine.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(OptionError, match="cannot read the calibration"):
        load(tmp_path / "mine.json")


def test_a_file_that_is_not_json(write):
    with pytest.raises(OptionError, match=r"mine\.json is not JSON: .*line 1"):
        load(write("{'name': 1}"))


@pytest.mark.parametrize("content", [[], 1, {}, MINE | {"schema": 2}, MINE | {"schema": "1"}], ids=repr)
def test_a_file_of_another_schema(write, content):
    with pytest.raises(OptionError, match=r'mine\.json is not a JSON object with "schema": 1'):
        load(write(content))


@pytest.mark.parametrize("field", [name for name in MINE if name != "schema"])
def test_a_file_that_lacks_a_field(write, field):
    with pytest.raises(OptionError, match=rf"mine\.json lacks {field}\. Its fields are schema, name, "):
        load(write({name: value for name, value in MINE.items() if name != field}))


def test_a_file_with_a_misspelt_field(write):
    with pytest.raises(OptionError, match=r"has the unknown fields treshold\."):
        load(write(MINE | {"treshold": 0.2}))


ILL_TYPED = {
    "name": [1, "", " ", None],
    "model": [1, "", None],
    "pipelines": ["Flux1", [], [1], None],
    "signal": ["modulated", 1, None],
    "rows": ["all", None],
    "polynomial": [[], 1.0, ["1"], [1.0, None], [True], [math.nan], [math.inf], None],
    "source": ["", None],
    "revision": [1],
    "stand_in_for": ["a", [1], None],
    "range": [[0.1], [0.2, 0.1], [0.1, 0.1], [-0.1, 0.1], [0.1, math.inf], [0.1, 0.2, 0.3], 0.1, ["a", "b"]],
    "derived_upper": [-1.0, "1"],
    "threshold": [-0.1, "0.2", True, math.nan],
    "window": [[0.2], [0.2, 1.0], [-1, 1], [1, 2, 3], 0.2, [True, 1]],
    "steps": [0, 1.5, "25", True],
    "guidance": ["3.5"],
    "quantize": [0, 1.5],
    "size": [[512, 512]],
    "prompts": ["a red apple", [1]],
    "mflux_version": [0.24],
    "date": [20260905],
    "r2": ["0.5", math.nan],
    "r2_held_out": [True],
    "distilled": [1, None],
    "license": [1],
    "note": [["a"]],
}


def test_every_field_has_an_ill_typed_example():
    assert set(ILL_TYPED) == set(Calibration.__dataclass_fields__)


@pytest.mark.parametrize(("field", "value"), [(name, value) for name, values in ILL_TYPED.items() for value in values])
def test_a_file_with_an_ill_typed_field(write, field, value):
    with pytest.raises(OptionError, match=rf"mine\.json has {field} = .*; it must be "):
        load(write(MINE | {field: value}))


def test_a_bound_that_the_polynomial_does_not_give(write):
    with pytest.raises(OptionError, match=r"has derived_upper = 1\.5, but its polynomial and range give 1\.0"):
        load(write(MINE | {"derived_upper": 1.5}))
    with pytest.raises(OptionError, match="has derived_upper = None, but"):
        load(write(MINE | {"derived_upper": None}))
    with pytest.raises(OptionError, match=r"has derived_upper = 1\.0, but its polynomial and range give None"):
        load(write(MINE | {"derived_upper": 1.0, "range": [0.1, 0.2]}))


def test_a_polynomial_that_could_never_skip(write):
    negative = MINE | {"polynomial": [1.0, -0.1]}
    with pytest.raises(OptionError, match=r"negative from the start.*Record the range"):
        load(write(negative))
    assert load(write(negative | {"range": [0.2, 0.9]})).upper == 0.9
