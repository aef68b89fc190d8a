"""mflux's real console scripts with plugins: images, replay, and nothing else changed."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import COMMAND, FLUX1, FLUX2, PIPELINE, REPLAY, SCRIPTS, WHOLE_SIDECARS
from installed import MFLUX

IMAGE = ("--prompt", "apple", "--width", 64, "--height", 64, "--steps", 4, "--metadata")
SECONDS = r"\d+\.\d s of denoising"


@pytest.fixture(scope="module")
def plain(commands):
    """mflux with our start-up file, and no plugin asked for."""
    return commands.run(*COMMAND, *IMAGE, "--seed", 1, "--output", "plain.png")


def recorded(commands, name: str) -> dict[str, object]:
    """What is recorded in an image, without its steps' times; the same is in its sidecar."""
    embedded = commands.embedded(f"{name}.png")["mflux_plugins"]
    assert commands.sidecar(f"{name}.metadata.json")["mflux_plugins"] == embedded
    assert len(embedded["steps"].pop("seconds")) == len(embedded["pattern"])
    return embedded


def test_an_image_of_the_flux2_command_has_its_record_and_so_has_a_whole_sidecar(commands):
    run = commands.run(*FLUX2, *IMAGE, "--seed", 1, "--plugin", "watch", "--output", "flux2.png")
    assert (run.code, run.weights) == (0, ["Flux2Klein"])
    embedded = commands.embedded("flux2.png")
    assert embedded["mflux_plugins"]["pattern"] == "CCCC"
    sidecar = commands.sidecar("flux2.metadata.json")
    assert (sidecar == embedded) if WHOLE_SIDECARS else (sidecar is None)


def same_pixels(commands, one: str, other: str) -> bool:
    return np.array_equal(commands.pixels(one), commands.pixels(other))


def test_without_a_plugin_a_command_does_byte_for_byte_what_it_did(commands, plain):
    before = commands.run(*COMMAND, *IMAGE, "--seed", 1, "--output", "before.png", MFLUX_PLUGINS="0")
    assert before.code == plain.code == 0
    assert (before.out, before.err) == (plain.out, plain.err.replace("plain.png", "before.png"))
    for ending in ("png", "metadata.json"):
        assert (commands.folder / f"plain.{ending}").read_bytes() == (commands.folder / f"before.{ending}").read_bytes()


ALTERNATE = ("--plugin", "alternate", "--alternate-every", 3, "--alternate-label", "a", "--alternate-label", "b")
OPTIONS = {"every": 3, "label": ["a", "b"], "names": None, "noted": False}


@pytest.fixture(scope="module")
def skipping(commands):
    """Two images, with every third step computed."""
    return commands.run(*COMMAND, *IMAGE, "--seed", 1, 2, *ALTERNATE, "--output", "skip.png")


@pytest.mark.sample
def test_each_image_has_its_line_and_its_record(commands, plain, skipping):
    assert (skipping.code, skipping.weights) == (0, [PIPELINE])
    one_line = rf"alternate: computed 2 of 4 steps, skipped 2 \(threshold 0\.5, {SECONDS}\)\n"
    assert re.fullmatch(one_line * 2 + re.escape(plain.out), skipping.out)
    assert recorded(commands, "skip_seed_1") == recorded(commands, "skip_seed_2")
    first = recorded(commands, "skip_seed_1")
    steps = first.pop("steps")
    assert (steps["change"], steps["threshold"]) == ([0.75, None, None, 0.75], [0.5] * 4)
    assert first == {
        "schema": 1,
        "pattern": "CSSC",
        "decider": "alternate",
        "residual_after": 0,
        "plugins": {"alternate": {"package": "cli-plugins", "version": "1.0", "options": OPTIONS, "values": {}}},
    }
    assert not same_pixels(commands, "skip_seed_1.png", "plain.png")


def test_a_sidecar_brings_the_run_back(commands, skipping):
    again = commands.run(COMMAND[0], *REPLAY, "skip_seed_1.metadata.json", "--metadata", "--output", "again.png")
    assert again.out.startswith("alternate: computed 2 of 4 steps")
    assert same_pixels(commands, "again.png", "skip_seed_1.png")
    assert recorded(commands, "again") == recorded(commands, "skip_seed_1")


def test_the_command_line_wins_over_the_sidecar(commands, plain, skipping):
    every = ("--alternate-every", 1, "--plugin", "watch", "--plugin", "alternate")
    replay = (*REPLAY[:-1], "-vC" if MFLUX >= (0, 21) else "-C", "skip_seed_1.metadata.json")  # -v is from 0.21
    other = commands.run(COMMAND[0], *replay, *every, "--metadata", "--output", "other.png")
    why = "smallest change 0.75, threshold 0.5"
    assert re.match(rf"alternate: computed 4 of 4 steps, skipped none \({SECONDS}\): {why}\n", other.out)
    assert same_pixels(commands, "other.png", "plain.png")
    assert recorded(commands, "other")["pattern"] == "CCCC"
    plugins = recorded(commands, "other")["plugins"]
    assert list(plugins) == ["watch", "alternate"]
    assert plugins["alternate"]["options"] == {**OPTIONS, "every": 1}


def test_plugin_none_switches_the_sidecars_plugins_off(commands, plain, skipping):
    replay = (COMMAND[0], *REPLAY, "skip_seed_1.metadata.json", "--metadata", "--output")
    off = commands.run(*replay, "off.png", "--plugin", "none")
    before = commands.run(*replay, "old.png", MFLUX_PLUGINS="0")
    assert (off.code, off.out, off.err) == (before.code, before.out, before.err.replace("old.png", "off.png"))
    assert (commands.folder / "off.png").read_bytes() == (commands.folder / "old.png").read_bytes()
    assert same_pixels(commands, "off.png", "plain.png")
    assert "mflux_plugins" not in commands.embedded("off.png")


def test_an_observer_changes_no_pixel(commands, plain):
    watched = commands.run(*COMMAND, *IMAGE, "--seed", 1, "--plugin", "watch", "--output", "watched.png")
    observes = rf"watch: computed 4 of 4 steps, skipped none \({SECONDS}\): the plugin only observes\n"
    assert re.fullmatch(observes + re.escape(plain.out), watched.out)
    assert same_pixels(commands, "watched.png", "plain.png")
    assert recorded(commands, "watched")["pattern"] == "CCCC"


def test_teacache_on_flux1_and_back(commands):
    # One polynomial coefficient: every change is predicted to be 0.3, so each second step passes 0.5.
    teacache = ("--plugin", "teacache", "--teacache-thresh", 0.5, "--teacache-coefficients", "0.3")
    run = commands.run(*FLUX1, *IMAGE, "--steps", 6, "--seed", 1, *teacache, "--output", "tea.png")
    assert re.match(rf"teacache: computed 4 of 6 steps, skipped 2 \(threshold 0\.5, {SECONDS}\)\n", run.out), run
    assert recorded(commands, "tea")["pattern"] == "CSCSCC"

    again = commands.run(FLUX1[0], *REPLAY, "tea.metadata.json", "--metadata", "--output", "tea-again.png")
    assert again.weights == ["Flux1"]
    assert same_pixels(commands, "tea.png", "tea-again.png")
    assert recorded(commands, "tea-again")["pattern"] == "CSCSCC"

    idle = commands.run(
        FLUX1[0], *REPLAY, "tea.metadata.json", "--teacache-thresh", 0.25, "--metadata", "--output", "tea-idle.png"
    )
    assert re.match(
        rf"teacache: computed 6 of 6 steps, skipped none \({SECONDS}\): smallest predicted change 0\.3, "
        r"threshold 0\.25; try --teacache-thresh 0\.35\n",
        idle.out,
    )
    assert idle.err.startswith("mflux-generate: warning: --teacache-thresh 0.25 will skip nothing")
    tried = re.search(r"; try (--teacache-thresh) (\S+)\n", idle.out).groups()
    helped = commands.run(FLUX1[0], *REPLAY, "tea.metadata.json", *tried, "--output", "helped.png")
    assert "computed 4 of 6 steps, skipped 2 (threshold 0.35" in helped.out
    assert recorded(commands, "tea-idle")["pattern"] == "CCCCCC"


def test_a_hook_that_fails_ends_the_run(commands):
    failed = commands.run(*COMMAND, *IMAGE, "--seed", 1, 2, "--plugin", "fails", "--output", "failed.png")
    assert (failed.code, failed.weights) == (1, [PIPELINE])
    assert "teacache" not in failed.out
    assert failed.err.count("Traceback (most recent call last)") == 1
    assert failed.err.count("in mflux_step_start\n") == 1
    *_, raised, message = failed.err.splitlines()
    assert raised == "RuntimeError: out of luck"
    assert message == (
        f"{COMMAND[0]}: error: plugin 'fails' failed in mflux_step_start at step 1: RuntimeError: out of luck. "
        "It is taken off, and the model is as it was before; run without --plugin fails to go on."
    )
    assert list(commands.folder.glob("failed*")) == []


def test_the_module_form_does_the_same_without_start_up_files(commands, skipping):
    words = (*COMMAND, *IMAGE, "--seed", 1, *ALTERNATE, "--output", "module.png")
    ran = commands.execute([sys.executable, "-m", "mflux_teacache", *words], MFLUX_PLUGINS="0")
    assert ran.out.startswith("alternate: computed 2 of 4 steps, skipped 2")
    assert same_pixels(commands, "module.png", "skip_seed_1.png")


def test_help_shows_the_options_of_a_plugin_that_is_named(commands):
    helped = commands.run("mflux-generate", "--plugin", "teacache", "--plugin", "watch", "--help")
    assert (helped.code, helped.err, helped.weights) == (0, "", [])
    assert "\nplugin teacache:\n  --teacache-thresh FLOAT\n" in helped.out
    assert "  --plugin NAME " in helped.out


def test_the_module_form_works_without_the_site_module(commands):
    project = Path(__file__).parents[3]
    path = f"{':'.join(entry for entry in sys.path if entry.endswith('site-packages'))}:{project}"
    words = [sys.executable, "-S", "-m", "mflux_teacache", "mflux-generate", "--plugin", "teacache", "--help"]
    helped = commands.execute(words, PYTHONPATH=path)
    assert helped.out.startswith("usage: mflux-generate [-h]")
    assert "\nplugin teacache:\n" in helped.out


@pytest.mark.skipif(not (SCRIPTS / "mflux-capabilities").exists(), reason="this mflux has no mflux-capabilities")
def test_every_image_command_has_the_plugins_options_more_and_is_else_as_it_was(commands):
    ours = commands.run("mflux-capabilities")
    before = json.loads(commands.run("mflux-capabilities", MFLUX_PLUGINS="0").out)
    described = json.loads(ours.out)
    for command, plain in zip(described["commands"], before["commands"], strict=True):
        known = {option["flag"] for option in plain["options"]}
        added = {option["flag"]: option for option in command["options"] if option["flag"] not in known}
        plugin, compiled = added["--plugin"], added["--plugin-compile-blocks"]
        assert (plugin["type"], plugin["parser_default"], plugin["status"]) == ("str", None, "honored")
        assert {"teacache", "alternate", "none"} <= set(plugin["choices"])
        assert (compiled["type"], compiled["parser_default"], compiled["status"]) == ("bool", None, "honored")
        assert compiled["aliases"] == ["--no-plugin-compile-blocks"]
        assert added["--teacache-max-skips"]["parser_default"] == 8
        assert added["--alternate-every"]["choices"] == ["1", "2", "3"]
        assert "required" not in added["--replay-from"]
        command["options"] = [option for option in command["options"] if option["flag"] in known]
    assert described == before
    assert len(described["commands"]) >= 30


def test_mfluxs_completions_know_the_option(commands):
    completions = commands.run("mflux-completions", "--print")
    if MFLUX < (0, 19):  # they fail in it, with plugins or without
        before = commands.run("mflux-completions", "--print", MFLUX_PLUGINS="0")
        assert completions.code == before.code == 1
        assert before.err.splitlines()[-1] == completions.err.splitlines()[-1]
        return
    assert completions.code == 0
    [of_generate] = re.findall(r"_mflux_generate\(\) \{\n(.*?)\n\}", completions.out, re.DOTALL)
    lines = [line.strip() for line in of_generate.splitlines()]
    [offered] = [line for line in lines if line.startswith("'--plugin'")]
    assert {"teacache", "alternate", "none"} <= set(re.findall(r":value:\((.*)\)'$", offered)[0].split())
    assert any(line.startswith("'--teacache-reuse'") and line.endswith(":value:(body output)'") for line in lines)
    assert any(line.startswith("'--alternate-every'") for line in lines)


def test_a_checkpoint_of_ones_own_runs_with_one_warning(commands):
    command, _, base = COMMAND
    own = (command, "--model", "someone/finetune", "--base-model", base)
    ran = commands.run(*own, *IMAGE, "--seed", 1, "--plugin", "teacache", "--output", "own.png")
    assert ran.code == 0
    [warning] = [line for line in ran.err.splitlines() if "warning: TeaCache" in line]
    assert re.search(rf"{base}(,| was) made .*someone/finetune|on someone/finetune; it uses", warning)
