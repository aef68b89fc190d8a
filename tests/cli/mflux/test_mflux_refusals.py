"""What mflux's real commands refuse with plugins: exit code 2, one line, and no weights touched."""

from __future__ import annotations

import json
import sys

import pytest
from installed import has
from mflux.models.common.config.model_config import ModelConfig

FLUX1 = ("mflux-generate", "--model", "dev")
FLUX2 = ("mflux-generate-flux2", "--model", "flux2-klein-base-4b")
EDIT = ("mflux-generate-flux2-edit", "--model")
QWEN21 = "mflux-generate-qwen-2.1"
IMAGE = ("--prompt", "apple", "--width", 32, "--height", 32, "--steps", 4)

ONE_WAY = (
    "The schedule takes exactly one of --schedule-pattern, --schedule-every, --schedule-ratio, "
    "--schedule-max-computed, --schedule-speedup;"
)

BEFORE_WEIGHTS = {
    "unknown plugin": (
        (*FLUX1, "--plugin", "teacash"),
        "unknown plugin 'teacash'. Did you mean teacache? Installed: alternate, auto, broken, clash, ",
    ),
    "plugin without a name": ((*FLUX1, "--plugin"), "argument --plugin: expected one argument"),
    "none and another": (
        (*FLUX1, "--plugin", "none", "--plugin", "teacache"),
        "--plugin none switches plugins off, and 'teacache' was asked for too. Leave one of them out.",
    ),
    "bad value": (
        (*FLUX1, "--plugin", "teacache", "--teacache-thresh", "much"),
        "argument --teacache-thresh: 'much' is not a finite number from 0, such as 0.2",
    ),
    "dtype that saves nothing": (
        (*FLUX1, "--plugin", "taylorseer", "--taylorseer-cache-dtype", "float32"),
        "argument --taylorseer-cache-dtype: invalid choice: 'float32' (choose from ",
    ),
    "bad choice": (
        (*FLUX1, "--plugin", "alternate", "--alternate-every", 9),
        "argument --alternate-every: invalid choice: 9 (choose from 1, 2, 3)",
    ),
    "two deciders": (
        (*FLUX1, "--plugin", "alternate", "--plugin", "other-decider"),
        "plugins 'alternate' and 'other-decider' both decide which steps are skipped. Name one of them; plugins that "
        "only observe can be added freely.",
    ),
    "broken plugin": (
        (*FLUX1, "--plugin", "broken"),
        "plugin 'broken' of package cli-plugins 1.0 cannot be imported: AttributeError: module 'cli_plugins' has no "
        "attribute 'DoesNotExist'. Reinstall or upgrade that package, or leave the plugin out.",
    ),
    "option without its prefix": (
        (*FLUX1, "--plugin", "clash"),
        "plugin 'clash': option --clashing does not start with --clash-.",
    ),
    "option of a plugin that is off": (
        (*FLUX1, "--teacache-thresh", 0.3),
        "--teacache-thresh is for the plugin teacache, which is off. Add --plugin teacache, or leave it out.",
    ),
    "option of a plugin with a longer name": (
        (*FLUX1, "--plugin", "teacache", "--teacache-record-output=a.json"),
        "--teacache-record-output is for the plugin teacache-record, which is off. Add --plugin teacache-record, or ",
    ),
    "a strategy and what compares them": (
        (*FLUX1, "--plugin", "teacache", "--plugin", "shadow"),
        "plugins 'teacache' and 'shadow' both decide which steps are skipped, and 'shadow' computes every step, to "
        "show what the plugins of --shadow-strategies would skip. Name one of them; plugins that only ",
    ),
    "switch of a plugin that is off": (
        (*FLUX1, "--plugin", "none", "--no-alternate-noted"),
        "--no-alternate-noted is for the plugin alternate, which is off. Add --plugin alternate in place of --plugin n",
    ),
    "two deciders of a sidecar": (
        (*FLUX2, "-C", "two.json"),
        "two.json: plugins 'alternate' and 'other-decider' both decide which steps are skipped. Name one of them; "
        "plugins that only observe can be added freely. Or run without the plugins of this file: --plugin none.",
    ),
    "a sidecar's strategy on another model": (
        (*FLUX2, "-C", "distilled.json", "--model", "flux2-klein-4b"),
        "distilled.json: black-forest-labs/FLUX.2-klein-4B is distilled to a few steps, which ",
    ),
    "unsupported pipeline": (
        ("mflux-concept", "--model", "dev", "--concept", "apple", "--plugin", "watch"),
        "plugins do not run on the pipeline Flux1Concept: its product is the attention of every block in every step, "
        "so no block may be skipped. Supported: ",
    ),
    "unsupported pipeline, compiled": (
        ("mflux-concept", "--model", "dev", "--concept", "apple", "--plugin-compile-blocks"),
        "plugins do not run on the pipeline Flux1Concept: its product is the attention of every block in every step, "
        "so no block may be skipped. Supported: ",
    ),
    "compiled blocks with a value": (
        (*FLUX1, "--plugin-compile-blocks=yes"),
        "argument --plugin-compile-blocks/--no-plugin-compile-blocks: ignored explicit argument 'yes'",
    ),
    "malformed record of compiled blocks": (
        (*FLUX2, "-C", "compiled.json"),
        "compiled.json: mflux_plugins.compile_blocks is 'yes', and it must be true or false. Correct it as ",
    ),
    "distilled model": (
        ("mflux-generate", "--model", "schnell", "--plugin", "teacache"),
        "black-forest-labs/FLUX.1-schnell is distilled to a few steps, which ",
    ),
    "distilled model, by a strategy that needs no figures": (
        ("mflux-generate", "--model", "schnell", "--plugin", "schedule", "--schedule-every", 2),
        "black-forest-labs/FLUX.1-schnell is distilled to a few steps, which ",
    ),
    "uncalibrated model": (
        ("mflux-generate", "--model", "seedvr2-3b", "--plugin", "teacache"),
        "TeaCache has no calibration for numz/SeedVR2_comfyUI (Flux1). It has: ",
    ),
    "too few steps": (
        (*FLUX1, "--plugin", "teacache", "--teacache-skip-first", 2, "--teacache-skip-last", 2),
        "TeaCache always computes the first 2 steps and the last 2 steps, which leaves nothing to skip of 4 active",
    ),
    "malformed sidecar": (
        (*FLUX2, "-C", "malformed.json"),
        "malformed.json: mflux_plugins.plugins is 7, and it must be an object. Correct it as --make-conf writes it. "
        "Or run without the plugins of this file: --plugin none.",
    ),
    "sidecar with an unknown plugin": (
        (*FLUX2, "-C", "unknown.json"),
        "unknown.json: unknown plugin 'os.path'. Installed: alternate, ",
    ),
    "sidecar with a bad value": (
        (*FLUX2, "-C", "value.json"),
        "value.json: plugin 'teacache': argument --teacache-thresh: '-1' is not a finite number from 0, such as 0.2. "
        "Or run without the plugins of this file: --plugin none.",
    ),
}

if hasattr(ModelConfig, "fibo"):
    # Their prompt model would be fetched first, and a sentence is no JSON, which it writes from it.
    FIBO = "mflux-generate-fibo"
    NO_CALIBRATION = "TeaCache has no calibration for briaai/"
    BEFORE_WEIGHTS |= {
        "before FIBO's prompt model: no calibration": (
            (FIBO, "--plugin", "teacache"),
            f"{NO_CALIBRATION}FIBO (FIBO). ",
        ),
        "before FIBO's prompt model: no steps": (
            (FIBO, "--plugin", "schedule"),
            f"{ONE_WAY} it was given ",
        ),
        "before FIBO's prompt model: a sidecar's strategy": (
            (FIBO, "-C", "value2.json", "--model", "fibo"),
            f"value2.json: {NO_CALIBRATION}FIBO (FIBO). ",
        ),
        "before FIBO's prompt model, to edit: no calibration": (
            (f"{FIBO}-edit", "--image-path", "photo.png", "--plugin", "magcache"),
            "MagCache has no table for briaai/",
        ),
    }

if has("mflux.models.fibo2"):
    BEFORE_WEIGHTS |= {
        "before FIBO 2's prompt model: no calibration": (
            ("mflux-generate-fibo2", "--expand-prompt", "--plugin", "teacache"),
            "TeaCache has no calibration for briaai/",
        ),
    }

BEFORE_WEIGHTS |= {
    "before a LoRA is fetched: an unsupported pipeline": (
        ("mflux-concept", "--model", "dev", "--concept", "a", "--lora-paths", "nobody/has-this", "--plugin", "watch"),
        "plugins do not run on the pipeline Flux1Concept: ",
    ),
    "before a LoRA is fetched: too few steps": (
        (*FLUX1, "--lora-paths", "nobody/has-this", "--plugin", "taylorseer"),
        "TaylorSeer always computes the first 3 steps and the last 1 step, which leaves nothing to skip of 4 active ",
    ),
    "before an in-context LoRA is fetched": (
        (
            "mflux-generate-in-context",
            "--reference-image",
            "photo.png",
            "--lora-style",
            "couple",
            "--plugin",
            "schedule",
        ),
        f"{ONE_WAY} it was given none. ",
    ),
}

if hasattr(ModelConfig, "flux2_klein_9b_kv"):
    BEFORE_WEIGHTS |= {
        "distilled model that edits with a key/value cache": (
            (*EDIT, "flux2-klein-9b-kv", "--image-paths", "apple.png", "--plugin", "teacache"),
            "black-forest-labs/FLUX.2-klein-9b-kv is distilled to a few steps, which ",
        ),
    }

if has("mflux.models.qwen21.variants.edit"):
    BEFORE_WEIGHTS |= {
        "mflux's own step reuse": (
            (QWEN21, "--step-cache-ratio", 0.25, "--plugin", "alternate"),
            "plugins run on the pipeline QwenImage21, but none that decides about steps together with mflux's own step "
            "reuse, which would reuse what it reused: step_cache_ratio=0.25 asks for it. Turn it off, ",
        ),
        "mflux's own step reuse by its older name": (
            (QWEN21, "--teacache-ratio", 0.5, "--plugin", "alternate"),
            "plugins run on the pipeline QwenImage21, but none that decides about steps together with mflux's own step "
            "reuse, which would reuse what it reused: step_cache_ratio=0.5 asks for it. Turn it off, ",
        ),
        "mflux's own step cache": (
            (f"{QWEN21}-edit", "--use-step-cache", "--plugin", "watch"),
            "plugins run on the pipeline QwenImage21Edit, but not with mflux's own step cache, which leaves the blocks "
            "after the first one: use_step_cache=True asks for it. Turn it off, ",
        ),
    }

if hasattr(ModelConfig, "qwen_image_21_turbo"):
    BEFORE_WEIGHTS |= {
        "distilled model by another command": (
            (QWEN21, "--model", "qwen-image-2.1-turbo", "--plugin", "teacache"),
            "Qwen/Qwen-Image-2.1-Turbo is distilled to a few steps, which ",
        ),
    }


@pytest.fixture(scope="module", autouse=True)
def files(commands, photo):
    (commands.folder / "photo.png").write_bytes(photo.read_bytes())
    (commands.folder / "mlx_teacache.py").touch()
    for name, plugins in {
        "malformed": 7,
        "unknown": {"os.path": {"options": {}}},
        "value": {"teacache": {"options": {"thresh": -1}}},
        "value2": {"teacache": {"options": {"thresh": 0.2}}},
        "two": {"alternate": {"options": {}}, "other-decider": {"options": {}}},
        "distilled": {"teacache": {"options": {"thresh": 0.2}}},
    }.items():
        entry = {"mflux_plugins": {"schema": 1, "plugins": plugins}}
        (commands.folder / f"{name}.json").write_text(json.dumps(entry))
    compiled = {"mflux_plugins": {"schema": 1, "plugins": {}, "compile_blocks": "yes"}}
    (commands.folder / "compiled.json").write_text(json.dumps(compiled))


@pytest.mark.parametrize("case", BEFORE_WEIGHTS)
def test_what_is_refused_before_any_weights(commands, case):
    arguments, message = BEFORE_WEIGHTS[case]
    refused = commands.run(arguments[0], *IMAGE, *arguments[1:])
    assert (refused.code, refused.out, refused.weights) == (2, "", [])
    assert refused.err.startswith(f"{arguments[0]}: error: {message}")
    assert refused.err.count("\n") == 1


def test_mlx_teacache_at_work_is_refused(commands):
    """As in its command, mflux-generate-z-image-teacache, which imports it beside mflux's parser."""
    command = (
        "import sys; sys.argv[0] = 'mflux-generate-teacache'\n"
        "from mflux_teacache.cli.startup import start; start()\n"
        "import mlx_teacache; from mflux.models.flux.cli.flux_generate import main; main()"
    )
    refused = commands.execute([sys.executable, "-c", command, *IMAGE, "--model", "dev", "--plugin", "teacache"])
    assert (refused.code, refused.out, refused.weights) == (2, "", [])
    assert refused.err == (
        "mflux-generate-teacache: error: mlx-teacache is at work in mflux-generate-teacache, and two caches would "
        "reuse what the other reused. Use --plugin with mflux's own command instead, or run this one without "
        "--plugin.\n"
    )


def test_a_plugin_that_fails_as_it_is_attached(commands):
    refused = commands.run(*FLUX2, *IMAGE, "--plugin", "fails-at-attach")
    assert (refused.code, refused.out, refused.weights) == (2, "", ["Flux2Klein"])
    assert refused.err == (
        "mflux-generate-flux2: error: plugin 'fails-at-attach' failed in mflux_attach: RuntimeError: cannot build "
        "state. Leave out --plugin fails-at-attach, or report this to its authors.\n"
    )


def test_what_is_known_only_when_the_image_is_made(commands):
    """The width comes from the image to start from: 0.5 * 64 = 32."""
    image = ("--prompt", "apple", "--width", "0.5x", "--image-path", "photo.png", "--steps", 4)
    refused = commands.run(*FLUX2, *image, "--low-ram", "--plugin", "refuses-at-image")
    assert (refused.code, refused.weights) == (2, ["Flux2Klein"])
    assert refused.err == "mflux-generate-flux2: error: width 32 is under 64. Use --width 64.\n"
    assert "Peak MLX memory" in refused.out  # mflux's own last word
