"""``-C`` and ``--plugin replay`` with mflux's real console scripts: the recorded steps again, and what is refused."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import numpy as np
import pytest
from commands import COMMAND, REPLAY

IMAGE = ("--prompt", "apple", "--width", 64, "--height", 64, "--steps", 6, "--guidance", 4, "--seed", 1, "--metadata")
SECONDS = r"\d+\.\d s of denoising"

# Random weights predict nothing: the rules decide, and each leaves another pattern.
STRATEGIES: dict[str, tuple[object, ...]] = {
    "teacache": ("--teacache-thresh", 0.5, "--teacache-coefficients", "0.3"),
    "first-block-cache": ("--first-block-cache-thresh", 9, "--first-block-cache-max-skips", 2),
    "taylorseer": ("--taylorseer-skip-first", 2),
}
PATTERNS = {"teacache": "CSCSCC", "first-block-cache": "CSSCSS"}


def recorded(commands: Any, name: str) -> dict[str, Any]:
    entry: dict[str, Any] = commands.embedded(f"{name}.png")["mflux_plugins"]
    return entry


def same_pixels(commands: Any, one: str, other: str) -> bool:
    return np.array_equal(commands.pixels(f"{one}.png"), commands.pixels(f"{other}.png"))


@pytest.fixture(scope="module")
def first(commands: Any) -> dict[str, str]:
    """One image of each strategy, under its name."""
    for name, options in STRATEGIES.items():
        ran = commands.run(*COMMAND, *IMAGE, "--plugin", name, *options, "--output", f"{name}.png")
        assert ran.code == 0, ran.err
    return {name: recorded(commands, name)["pattern"] for name in STRATEGIES}


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_sidecar_repeats_the_recorded_steps(commands, first, name):
    assert first[name] == PATTERNS.get(name, first[name])
    assert "S" in first[name]
    again = commands.run(COMMAND[0], *REPLAY, f"{name}.metadata.json", "--metadata", "--output", f"{name}-again.png")
    computed, skipped = first[name].count("C"), first[name].count("S")
    source = re.escape(f"as {name} did in {name}.metadata.json")
    line = rf"replay: computed {computed} of 6 steps, skipped {skipped} \({source}, {SECONDS}\)\n"
    assert re.match(line, again.out), again
    assert again.err.count("warning") == again.err.count("note") == 0
    assert same_pixels(commands, name, f"{name}-again")

    before, after = recorded(commands, name), recorded(commands, f"{name}-again")
    assert after["pattern"] == before["pattern"]
    assert (after["decider"], after["residual_after"]) == ("replay", before["residual_after"])
    assert after["plugins"]["replay"]["options"] == {"from": f"{name}.metadata.json"}
    assert after["plugins"]["replay"]["values"] == {
        "forecast": before["plugins"][name]["values"]["forecast"],
        "cache_dtype": None,
        "reuse": before["plugins"][name]["values"]["reuse"],
        "replays": {"plugin": name, **before["plugins"][name]},
    }


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_dtype_of_the_cache_is_recorded_and_repeated(commands, first, dtype):
    narrow = ("--plugin", "teacache", *STRATEGIES["teacache"], "--teacache-cache-dtype", dtype)
    assert commands.run(*COMMAND, *IMAGE, *narrow, "--output", f"{dtype}.png").code == 0
    assert recorded(commands, dtype)["pattern"] == "CSCSCC"
    entry = recorded(commands, dtype)["plugins"]["teacache"]
    assert (entry["options"]["cache_dtype"], entry["values"]["cache_dtype"]) == (dtype, dtype)

    again = commands.run(COMMAND[0], *REPLAY, f"{dtype}.metadata.json", "--metadata", "--output", f"{dtype}-again.png")
    assert again.out.startswith("replay: computed 4 of 6 steps")
    assert recorded(commands, f"{dtype}-again")["plugins"]["replay"]["values"]["cache_dtype"] == dtype
    assert same_pixels(commands, f"{dtype}-again", dtype)

    restored = commands.run(
        COMMAND[0],
        *REPLAY,
        f"{dtype}.metadata.json",
        "--plugin",
        "teacache",
        "--metadata",
        "--output",
        f"{dtype}-restored.png",
    )
    assert restored.out.startswith("teacache: computed 4 of 6 steps")
    assert recorded(commands, f"{dtype}-restored")["plugins"] == recorded(commands, dtype)["plugins"]
    assert same_pixels(commands, f"{dtype}-restored", dtype)


def test_first_block_cache_is_repeated_after_its_first_block(commands, first):
    assert recorded(commands, "first-block-cache")["residual_after"] == 1


def test_a_replayed_image_can_be_replayed_without_the_first_one(commands, first):
    assert commands.run(COMMAND[0], *REPLAY, "teacache.metadata.json", "--metadata", "--output", "second.png").code == 0
    sidecar = commands.sidecar("second.metadata.json")
    sidecar["mflux_plugins"]["plugins"]["replay"]["options"]["from"] = "gone.json"
    (commands.folder / "second.json").write_text(json.dumps(sidecar))
    third = commands.run(COMMAND[0], *REPLAY, "second.json", "--metadata", "--output", "third.png")
    assert third.out.startswith("replay: computed 4 of 6 steps")
    assert same_pixels(commands, "third", "teacache")
    assert (
        recorded(commands, "third")["plugins"]["replay"]["values"]
        == (recorded(commands, "second")["plugins"]["replay"]["values"])
    )
    # And TeaCache itself comes back as it was.
    itself = commands.run(
        COMMAND[0], *REPLAY, "second.json", "--teacache-max-skips", 8, "--metadata", "--output", "itself.png"
    )
    assert itself.out.startswith("teacache: computed 4 of 6 steps, skipped 2 (threshold 0.5, ")
    assert recorded(commands, "itself")["plugins"] == recorded(commands, "teacache")["plugins"]


def test_the_plugin_takes_the_image_itself(commands, first):
    replay = ("--plugin", "replay", "--replay-from", "taylorseer.png")
    ran = commands.run(*COMMAND, *IMAGE, *replay, "--output", "named.png")
    assert ran.out.startswith("replay: computed "), ran.err
    assert same_pixels(commands, "named", "taylorseer")


def test_an_option_of_the_strategy_makes_it_decide_itself(commands, first):
    ran = commands.run(COMMAND[0], *REPLAY, "teacache.metadata.json", "--teacache-thresh", 0.7, "--output", "own.png")
    assert ran.out.startswith("teacache: computed 3 of 6 steps, skipped 3 (threshold 0.7")


def test_naming_the_strategy_makes_it_decide_itself(commands, first):
    ran = commands.run(COMMAND[0], *REPLAY, "teacache.metadata.json", "--plugin", "teacache", "--output", "own.png")
    assert ran.out.startswith("teacache: computed 4 of 6 steps, skipped 2 (threshold 0.5")


def test_what_is_repeated_for_another_image_is_told_with_how_to_decide_anew(commands, first):
    """And the advice does what it says."""
    other = (COMMAND[0], *REPLAY, "teacache.metadata.json", "--prompt", "pear", "--seed", 7)
    repeated = commands.run(*other, "--output", "pear.png")
    assert repeated.out.startswith(
        "replay: computed 4 of 6 steps, skipped 2 (as teacache did in teacache.metadata.json, "
    )
    [note] = [line for line in repeated.err.splitlines() if "note" in line]
    assert note == (
        f"{COMMAND[0]}: note: the steps that teacache skipped in teacache.metadata.json are skipped again, although "
        "--prompt and --seed may call for others. To let it decide anew, add --plugin teacache."
    )
    anew = commands.run(*other, *note.partition(" add ")[2].removesuffix(".").split(), "--output", "pear.png")
    assert anew.out.startswith("teacache: computed 4 of 6 steps, skipped 2 (threshold 0.5, ")
    assert "note" not in anew.err


def test_another_decider_over_a_sidecar_is_no_reason_to_name_two(commands, first):
    other = commands.run(
        COMMAND[0], *REPLAY, "teacache.metadata.json", "--plugin", "taylorseer", "--output", "other.png"
    )
    assert other.out.startswith("taylorseer: computed ")
    [warning] = [line for line in other.err.splitlines() if "warning" in line]
    assert warning == (
        f"{COMMAND[0]}: warning: teacache.metadata.json also names teacache, left out since the command line names "
        "plugins itself."
    )


def test_other_steps_make_the_strategy_decide_itself_with_a_word(commands, first):
    ran = commands.run(COMMAND[0], *REPLAY, "teacache.metadata.json", "--steps", 5, "--output", "fewer.png")
    assert ran.out.startswith("teacache: computed 3 of 5 steps, skipped 2 (threshold 0.5"), ran
    [warning] = [line for line in ran.err.splitlines() if "warning" in line]
    assert warning == (
        f"{COMMAND[0]}: warning: teacache.metadata.json records 6 steps, and this run has 5: the steps to skip "
        "are not repeated; teacache decides anew, with the recorded options."
    )
    same = commands.run(COMMAND[0], *REPLAY, "teacache.metadata.json", "--steps", 6, "--output", "six.png")
    assert same.out.startswith("replay: computed 4 of 6 steps")
    assert same_pixels(commands, "six", "teacache")


def test_the_other_plugins_run_as_recorded(commands, first):
    options = ("--plugin", "watch", "--plugin", "teacache", *STRATEGIES["teacache"])
    assert commands.run(*COMMAND, *IMAGE, *options, "--output", "both.png").code == 0
    again = commands.run(COMMAND[0], *REPLAY, "both.metadata.json", "--metadata", "--output", "both-again.png")
    assert again.out.startswith("replay: computed 4 of 6 steps")
    assert list(recorded(commands, "both-again")["plugins"]) == ["watch", "replay"]

    # One of two is named: the advice to have both is taken.
    watching = commands.run(COMMAND[0], *REPLAY, "both.metadata.json", "--plugin", "watch", "--output", "w.png")
    [warning] = [line for line in watching.err.splitlines() if "warning" in line]
    _, _, advice = warning.partition("To have all: ")
    both = commands.run(
        COMMAND[0], *REPLAY, "both.metadata.json", *advice.removesuffix(".").split(), "--output", "w.png"
    )
    assert both.out.startswith("teacache: computed 4 of 6 steps, skipped 2 (threshold 0.5, ")
    assert "warning" not in both.err


TAMPERED = [
    ({"pattern": "CSCSC"}, "run.json records 5 steps, and this run has 6"),
    ({"values": {"forecast": 7}}, "mflux_plugins.plugins.teacache.values.forecast is 7"),
    ({"rename": "os.path:join"}, "unknown plugin 'os.path:join'"),
]


@pytest.mark.parametrize(("change", "message"), TAMPERED, ids=[message[:40] for _, message in TAMPERED])
def test_a_sidecar_that_was_tampered_with_is_refused_before_weights_load(commands, first, change, message):
    sidecar = copy.deepcopy(commands.sidecar("teacache.metadata.json"))
    entry = sidecar["mflux_plugins"]
    teacache = entry["plugins"]["teacache"]
    if name := change.get("rename"):
        entry["decider"], entry["plugins"] = name, {name: teacache}
    teacache["values"] |= change.get("values", {})
    entry |= {key: value for key, value in change.items() if key in entry}
    (commands.folder / "run.json").write_text(json.dumps(sidecar))
    refused = commands.run(COMMAND[0], *REPLAY, "run.json", "--output", "refused.png")
    assert (refused.code, refused.out, refused.weights) == (2, "", [])
    [line] = refused.err.splitlines()
    assert line.startswith(f"{COMMAND[0]}: error: ")
    assert message in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--replay-from", "missing.json"), "missing.json cannot be read: "),
        (("--replay-from", "teacache.png", "--steps", 5), "teacache.png records 6 steps, and this run has 5."),
    ],
)
def test_what_cannot_be_repeated_is_refused_before_weights_load(commands, first, options, message):
    refused = commands.run(*COMMAND, *IMAGE, "--plugin", "replay", *options, "--output", "refused.png")
    assert (refused.code, refused.weights) == (2, [])
    assert message in refused.err.splitlines()[-1]
