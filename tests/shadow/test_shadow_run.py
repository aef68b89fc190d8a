"""Shadow runs on tiny random models: the errors are the right ones, and nothing of the image changes."""

from __future__ import annotations

import io
import json
import math
import os
import sys
import warnings
from types import SimpleNamespace

import cases_flux
import mlx.core as mx
import pytest
from scripted import generation
from shadowing import STEPS, observing, shadow, values
from strategies import Pattern, ReadsEverything, kept
from tiny_models import generate, same

from mflux_teacache import About, Decision, Refused, attach, hookimpl
from mflux_teacache.errors import OptionError, PluginWarning, UnknownPlugin
from mflux_teacache.pieces.option_types import threshold
from mflux_teacache.shadow import plan
from mflux_teacache.shadow.plugin import Shadow
from mflux_teacache.shadow.report import Row

pytestmark = [pytest.mark.usefixtures("tiny"), pytest.mark.filterwarnings("ignore::mflux_teacache.PluginWarning")]


class Thirds(Pattern):
    """A stranger's strategy with a threshold: skips the steps whose third of the run lies under it."""

    about = About(threshold="thresh", default_threshold=0.4)

    @staticmethod
    @hookimpl
    def mflux_add_options(group):
        group.add_argument("--thirds-thresh", type=threshold, default=0.4)

    @hookimpl
    def mflux_attach(self, options):
        self.thresh = options.thresh

    @hookimpl
    def mflux_pre_transformer(self, step):
        numbers = {"change": step.index / 10, "threshold": self.thresh}
        if 0 < step.index / 10 < self.thresh:
            return Decision.reuse(self.residuals, **numbers)
        return Decision.compute(**numbers)


class AfterTwoBlocks(Pattern):
    residual_after = 2


class Fails(Pattern):
    @hookimpl
    def mflux_step_start(self, step):
        if step.index == 2:
            raise RuntimeError("out of luck")


class ReturnsText(Pattern):
    @hookimpl
    def mflux_pre_transformer(self, step):
        return "skip"


class ReturnsResidual(Pattern):
    @hookimpl
    def mflux_pre_transformer(self, step):
        return mx.zeros((1, 1000))


class RefusesModel(Pattern):
    @hookimpl
    def mflux_check(self, target):
        raise Refused(f"{target.pipeline} is none of its models.")


class RefusesShortRuns(Pattern):
    @hookimpl
    def mflux_check(self, target):
        if target.active_steps is not None and target.active_steps < 10:
            raise Refused(f"{target.active_steps} steps are too few.")


class Watches:
    @hookimpl
    def mflux_step_start(self, step):
        raise AssertionError("a plugin that only observes is not simulated")


# --- the run itself ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["flux2-guidance", "flux1-kontext"])
def test_the_image_is_that_of_a_plain_run(case, photo):
    model, arguments = cases_flux.CASES[case].make(photo)
    plain = generate(model, num_inference_steps=STEPS, **arguments)
    latents, recorded = shadow(case, photo)
    assert same(latents, plain)
    assert recorded["pattern"] == "C" * STEPS
    assert {"easycache", "first-block-cache", "taylorseer", "teacache"} <= {
        run["strategy"] for run in values(recorded)["runs"]
    }


def test_other_plugins_may_observe_but_not_decide(photo, installed):
    installed(Pattern)
    _, recorded = shadow(
        "flux2-guidance",
        photo,
        observing(ReadsEverything),
    )
    assert list(recorded["plugins"]) == ["shadow", "observer"]
    model, _ = cases_flux.CASES["flux2-guidance"].make(photo)
    with pytest.raises(Refused, match="'shadow' and 'teacache' both decide"):
        attach(model, shadow={}, teacache={})


def test_no_array_outlives_an_image(photo):
    model, arguments = cases_flux.CASES["flux2-guidance"].make(photo)
    plugin, made = kept(Shadow)
    plugin.__name__ = "shadow"
    with attach(model, plugin, strategies="first-block-cache", thresholds=(9.0,)) as handle:
        for steps in (6, 4):
            generate(model, num_inference_steps=steps, **arguments)
            [simulation] = made[0]._plan.simulations
            [strategy] = simulation._plugins._instances.values()
            assert simulation._decision is None
            assert strategy._reference is None
            assert strategy.cache.empty
    assert [image.pattern for image in handle.stats.history] == ["CCCCCC", "CCCC"]


# --- which strategies, which thresholds --------------------------------------------------------------------------


def test_a_strangers_strategy_at_multiples_of_its_threshold(photo, installed):
    installed(Thirds, Watches)
    _, recorded = shadow("flux2-guidance", photo)
    found = [(run["threshold"], run["pattern"]) for run in values(recorded)["runs"]]
    assert found == [
        (0.2, "CSCCCC"),
        (0.3, "CSSCCC"),
        (0.4, "CSSSCC"),
        (0.6, "CSSSSS"),
        (0.8, "CSSSSS"),
    ]
    assert [len(run["errors"]) for run in values(recorded)["runs"]] == [1, 2, 3, 5, 5]
    assert values(recorded)["left_out"] == {}


class TellsWithoutAnOption(Pattern):
    """Records a threshold that no option changes."""

    @hookimpl
    def mflux_image_metadata(self):
        return {"threshold": 0.5}


def test_a_threshold_that_cannot_be_changed_is_looked_at_once(photo, installed):
    installed(TellsWithoutAnOption)
    _, recorded = shadow("flux2-guidance", photo)
    assert len(values(recorded)["runs"]) == 1


def test_thresholds_of_ones_own_apply_where_there_is_one(photo, installed):
    installed(Thirds, Pattern)
    _, recorded = shadow("flux2-guidance", photo, thresholds=(0.3, 0.2))
    found = [(run["strategy"], run["threshold"]) for run in values(recorded)["runs"]]
    assert found == [("thirds", 0.2), ("thirds", 0.3), ("pattern", None)]


def test_named_strategies_alone(photo, installed):
    installed(Thirds, Pattern)
    _, recorded = shadow("flux2-guidance", photo, strategies="pattern")
    assert [run["strategy"] for run in values(recorded)["runs"]] == ["pattern"]


def test_a_calibrations_threshold_is_a_strategys_own(photo):
    _, recorded = shadow("flux1-kontext", photo, strategies="teacache")
    assert [run["threshold"] for run in values(recorded)["runs"]] == [0.11, 0.165, 0.22, 0.33, 0.44]


def test_who_cannot_take_part_is_listed_with_the_reason(photo, installed, capsys):
    installed(Pattern, RefusesModel, AfterTwoBlocks, Fails, ReturnsText, ReturnsResidual, RefusesShortRuns)
    _, recorded = shadow("flux2-guidance", photo)
    assert [run["strategy"] for run in values(recorded)["runs"]] == ["pattern"]
    assert values(recorded)["left_out"] == {
        "refusesmodel": "Flux2Klein is none of its models.",
        "aftertwoblocks": "its residual_after is 2, and a shadow run knows the body's stream after 0 and 1 blocks.",
        "fails": "it failed in mflux_step_start: RuntimeError: out of luck",
        "returnstext": "it returned 'skip' in mflux_pre_transformer where a Decision or None is expected",
        "returnsresidual": "it returned an array in mflux_pre_transformer where a Decision or None is expected",
        "refusesshortruns": "6 steps are too few.",
    }
    printed = capsys.readouterr().out
    assert "fails is left out: it failed in mflux_step_start: RuntimeError: out of luck\n" in printed


def test_what_strategies_warn_of_is_a_note_and_said_once(photo, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shadow("flux1-kontext", photo, strategies="teacache", thresholds=(0.001, 0.01))
    [note] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("teacache: ")]
    assert note.startswith("teacache: --teacache-thresh 0.01 will skip nothing")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"strategies": "nobody"}, UnknownPlugin, "unknown plugin 'nobody'"),
        ({"strategies": "watches"}, Refused, "plugin 'watches' decides nothing"),
        ({"strategies": "shadow"}, Refused, "plugin 'shadow' decides nothing"),
        ({"strategies": "replay"}, Refused, "plugin 'replay' decides nothing"),
        ({"strategies": ","}, OptionError, "',' names no plugin"),
        ({"thresholds": "0.1,high"}, OptionError, "'high' is not a finite number"),
        ({"plot": "x.jpg"}, OptionError, r"--shadow-plot is x\.jpg; its name must end in \.png\. Try .* x\.png\."),
        ({"json": "x"}, OptionError, r"--shadow-json is x; its name must end in \.json\. Try --shadow-json x\.json\."),
        ({"thresholds": [0.1] * 65}, OptionError, "65 thresholds are given; at most 64 are taken"),
        ({"plot": "nowhere/x.png"}, Refused, r"--shadow-plot is nowhere/x\.png, but there is no folder nowhere"),
        ({}, Refused, r"none does\. refusesmodel: Flux2Klein is none of its models\.$"),
    ],
)
def test_what_is_refused_before_an_image(photo, installed, options, error, message):
    installed(RefusesModel, Watches)
    model, _ = cases_flux.CASES["flux2-guidance"].make(photo)
    with pytest.raises(error, match=message):
        attach(model, "shadow", **options)


# --- files -------------------------------------------------------------------------------------------------------


def test_each_image_has_its_files(photo, installed, tmp_path, capsys):
    installed(Thirds)
    model, arguments = cases_flux.CASES["flux2-guidance"].make(photo)
    with attach(model, "shadow", plot=tmp_path / "s.png", json=tmp_path / "s.json"):
        for steps in (4, 5):
            generate(model, num_inference_steps=steps, **arguments)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.json", "s.png", "s_2.json", "s_2.png"]
    written = json.loads((tmp_path / "s_2.json").read_text())
    assert [len(run["pattern"]) for run in written["runs"]] == [5] * 5
    assert capsys.readouterr().out.count("shadow: every step was computed.") == 2
    assert all(math.isfinite(error) for run in written["runs"] for error in run["errors"])


def test_a_file_that_cannot_be_written_costs_neither_the_other_nor_the_image(photo, installed, tmp_path):
    installed(Thirds)
    model, arguments = cases_flux.CASES["flux2-guidance"].make(photo)
    (tmp_path / "s_2.json").mkdir()
    with attach(model, "shadow", plot=tmp_path / "s.png", json=tmp_path / "s.json"):
        generate(model, num_inference_steps=4, **arguments)
        with pytest.warns(PluginWarning, match=r"--shadow-json is .*s_2\.json, which could not be written: Is a dir"):
            generate(model, num_inference_steps=4, **arguments)
    assert (tmp_path / "s_2.png").is_file()


def shadow_of_one_step(tmp_path):
    """An image has just been made; nobody has been told that it ended."""
    shadow = Shadow()
    shadow._plan = plan.Plan([SimpleNamespace(name="x", fault=None, end=lambda image: Row("x", 0.1, (None, 0.1)))])
    shadow._json, shadow._plot = tmp_path / "s.json", tmp_path / "s.png"
    image = generation(2)
    image.status = "finished"
    return shadow, image


def test_nor_where_python_makes_errors_of_warnings(tmp_path):
    """Which end the hook that warns."""
    shadow, image = shadow_of_one_step(tmp_path)
    (tmp_path / "s.json").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(PluginWarning, match=r"--shadow-json is .*s\.json, which could not be written: Is a direct"):
            shadow.mflux_generation_end(image)
    assert (tmp_path / "s.png").is_file()
    assert shadow.mflux_image_metadata()["runs"][0]["pattern"] == "CS"


def test_the_file_before_is_whole_where_the_disk_is_full(photo, installed, tmp_path, monkeypatch):
    installed(Thirds)
    model, arguments = cases_flux.CASES["flux2-guidance"].make(photo)
    for name in ("s.png", "s.json"):
        (tmp_path / name).write_text("old")

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with (
        attach(model, "shadow", plot=tmp_path / "s.png", json=tmp_path / "s.json") as handle,
        pytest.warns(PluginWarning, match="could not be written: No space left on device") as caught,
    ):
        generate(model, num_inference_steps=4, **arguments)
    assert len([warning for warning in caught if "No space" in str(warning.message)]) == 2
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"s.png": "old", "s.json": "old"}
    assert handle.stats.generations == 1


def test_a_pipe_gets_what_each_image_shows(photo, installed, tmp_path):
    installed(Thirds)
    model, arguments = cases_flux.CASES["flux2-guidance"].make(photo)
    os.mkfifo(tmp_path / "s.json")
    reader = os.open(tmp_path / "s.json", os.O_RDONLY | os.O_NONBLOCK)
    with attach(model, "shadow", json=tmp_path / "s.json", strategies="thirds"):
        for _ in range(2):
            generate(model, num_inference_steps=4, **arguments)
    with open(reader) as file:
        assert file.read().count('"path": "full run"') == 2
    assert [path.name for path in tmp_path.iterdir()] == ["s.json"]


class Full(io.StringIO):
    def flush(self):
        raise OSError(28, "No space left on device")


closed = io.StringIO()
closed.close()


@pytest.mark.parametrize("stdout", [Full(), closed, None], ids=["full", "closed", "closed from the start"])
def test_a_table_that_nobody_reads_costs_nothing(tmp_path, monkeypatch, stdout):
    shadow, image = shadow_of_one_step(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        shadow.mflux_generation_end(image)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.json", "s.png"]
    assert shadow.mflux_image_metadata()["runs"][0]["pattern"] == "CS"


def test_files_in_ones_home(photo, installed, tmp_path, monkeypatch):
    installed(Thirds)
    monkeypatch.setenv("HOME", str(tmp_path))
    model, arguments = cases_flux.CASES["flux2-guidance"].make(photo)
    with attach(model, "shadow", json="~/s.json"):
        generate(model, num_inference_steps=4, **arguments)
    assert (tmp_path / "s.json").is_file()
