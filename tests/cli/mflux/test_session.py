"""From mflux's parsed arguments to what plugins are asked about: mflux's own parser and classes, no weights."""

from __future__ import annotations

import argparse
import ast
import contextlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import mflux
import pytest
from installed import MFLUX, has
from mflux.callbacks.callback_manager import CallbackManager
from mflux.cli.parser.parsers import CommandLineParser
from mflux.models.common.config.model_config import ModelConfig
from mflux.models.flux.variants.concept_attention.flux_concept import Flux1Concept
from mflux.models.flux.variants.kontext.flux_kontext import Flux1Kontext
from mflux.models.flux.variants.txt2img.flux import Flux1

from mflux_teacache import Target, hookimpl
from mflux_teacache.attachment import Request
from mflux_teacache.cli import startup
from mflux_teacache.cli.mflux import session
from mflux_teacache.cli.mflux.session import Chosen, Session
from mflux_teacache.cli.startup import extend
from mflux_teacache.errors import AlreadyAttached, Refused
from mflux_teacache.plugins import Loaded, load
from mflux_teacache.records import GenerationStats


class Judge:
    """Keeps the targets that it was asked about."""

    targets: list[Target]

    @hookimpl
    def mflux_check(self, target: Target) -> None:
        self.targets.append(target)


class BringsFamily(Judge):
    @hookimpl
    def mflux_families(self):
        return []


def session_with(*plugins: type, **arguments: object) -> Session:
    for plugin in plugins:
        plugin.targets = []
    requests = [Request(Loaded(plugin.__name__.lower(), plugin), argparse.Namespace()) for plugin in plugins]
    session = Session("mflux-generate", Chosen(requests))
    session.arguments = argparse.Namespace(**arguments)
    return session


def target_of(cls: type, init: dict[str, object], **arguments: object) -> Target:
    session_with(Judge, **arguments).check(cls, init)
    [target] = Judge.targets
    return target


def test_plugins_judge_what_the_command_line_says():
    init = {"model_config": ModelConfig.dev(), "quantize": 8, "model_path": None, "lora_paths": ["a.safetensors"]}
    arguments = {"steps": 25, "guidance": 3.5, "width": 512, "height": 768, "prompt": "x", "image_strength": 0.4}
    assert target_of(Flux1, init, **arguments, image_path=None) == Target(
        pipeline="Flux1",
        family="flux",
        model="black-forest-labs/FLUX.1-dev",
        loras=("a.safetensors",),
        quantize=8,
        steps=25,
        active_steps=25,
        guidance=3.5,
        width=512,
        height=768,
    )


def test_what_is_not_known_yet_stays_unknown():
    init = {"model_config": ModelConfig.dev()}
    target = target_of(Flux1, init, steps=20, guidance=None, width="auto", image_path=Path("x.png"), image_strength=0.4)
    # 20 * 0.4 = 8 steps are left out
    assert (target.active_steps, target.guidance, target.width, target.height) == (12, None, None, None)


def test_kontexts_command_does_not_pass_its_strength_on():
    init = {"model_config": ModelConfig.dev_kontext()}
    assert target_of(Flux1Kontext, init, steps=20, image_path=Path("x.png"), image_strength=0.4).active_steps == 20


def _reads_strength(module: ast.Module) -> bool:
    return any(isinstance(node, ast.Attribute) and node.attr == "image_strength" for node in ast.walk(module))


def test_kontexts_command_is_the_only_supported_one_that_does_not():
    silent = set()
    for path in Path(mflux.__path__[0]).glob("models/*/cli/*.py"):
        source = path.read_text()
        if "add_image_to_image_arguments" in source and not _reads_strength(ast.parse(source)):
            silent.add(path.stem)
    assert silent == {"flux_generate_kontext", "flux_concept_from_image"}
    assert session._NOT_PASSED_ON.keys() == {"Flux1Kontext"}


def test_every_image_command_goes_by_what_is_wrapped():
    sources = [path.read_text() for path in Path(mflux.__path__[0]).glob("models/*/cli/*.py")]
    makes_images = [source for source in sources if ".generate_image(" in source]
    assert len(makes_images) >= 20
    for name in ("parser.add_output_arguments()", "parser.parse_args()", "CallbackManager.register_callbacks("):
        assert all(name in source for source in makes_images)


def test_a_pipeline_that_plugins_do_not_run_on_is_refused(capsys):
    with pytest.raises(SystemExit) as leaving:
        session_with(Judge).check(Flux1Concept, {"model_config": ModelConfig.dev()})
    assert leaving.value.code == 2
    out, err = capsys.readouterr()
    assert err.startswith("mflux-generate: error: plugins do not run on the pipeline Flux1Concept: its product is")
    assert (out, err.count("\n"), Judge.targets) == ("", 1, [])


class NewPipeline:
    """One that our table does not know."""

    def generate_image(self, seed: int) -> None: ...


def test_an_unknown_pipeline_is_refused_unless_a_plugin_brings_families():
    with pytest.raises(SystemExit):
        session_with(Judge).check(NewPipeline, {})
    session_with(BringsFamily).check(NewPipeline, {})
    assert [target.pipeline for target in BringsFamily.targets] == ["NewPipeline"]
    with pytest.raises(SystemExit):
        session_with(BringsFamily).check(Flux1Concept, {})


@pytest.mark.skipif(not has("mflux.models.fibo2"), reason="this mflux reuses no steps itself")
def test_mflux_s_own_step_reuse_is_refused_to_a_plugin_that_decides(capsys):
    from mflux.models.fibo2.variants.txt2img.fibo2 import Fibo2

    assert target_of(Fibo2, {}, step_cache_ratio=0.5).pipeline == "Fibo2"
    with pytest.raises(SystemExit):
        session_with(Decides, step_cache_ratio=0.5).check(Fibo2, {})
    assert capsys.readouterr().err == (
        "mflux-generate: error: plugins run on the pipeline Fibo2, but none that decides about steps together with "
        "mflux's own step reuse, which would reuse what it reused: step_cache_ratio=0.5 asks for it. Turn it off, or "
        "run without plugins.\n"
    )


def test_mlx_teacache_at_work_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlx_teacache", ModuleType("mlx_teacache"))
    with pytest.raises(AlreadyAttached, match=r"^mlx-teacache is at work in mflux-generate, and two caches would"):
        session_with(Judge)


class Decides:
    @hookimpl
    def mflux_pre_transformer(self): ...


class DecidesToo(Decides): ...


def test_a_stream_that_takes_nothing_does_not_cost_the_image(monkeypatch):
    class Gone:
        def write(self, text: str) -> int:
            raise BrokenPipeError

        def flush(self) -> None:
            raise BrokenPipeError

    reports = []
    monkeypatch.setattr(
        session, "attach_requests", lambda model, requests, report, *rest, **more: reports.append(report)
    )
    session_with(Judge).attach(SimpleNamespace(generate_image=lambda: None))
    for stdout in (Gone(), None):
        monkeypatch.setattr(sys, "stdout", stdout)
        reports[0](GenerationStats(num_steps=1, decisions=(), status="finished", seconds=1.0, seed=1), {})


def test_the_plugins_that_judged_a_model_are_the_ones_that_are_attached_to_it(monkeypatch):
    """They are made once, and judge once before the weights load; a further model has plugins of its own."""
    attached = []
    monkeypatch.setattr(session, "attach_requests", lambda *given, judged, **more: attached.append(judged))
    made = session_with(Judge)
    init = {"model_config": ModelConfig.dev()}
    for _ in range(2):
        made.check(Flux1, init)
        made.attach(SimpleNamespace(generate_image=lambda: None))
    made.attach(SimpleNamespace(generate_image=lambda: None))  # of a class that was not watched
    first, second, third = attached
    assert first is not None
    assert second not in (None, first)
    assert third is None
    assert len(Judge.targets) == 2


def test_two_that_decide_are_refused():
    with pytest.raises(
        Refused, match="'decides' and 'decidestoo' both decide which steps are skipped. Name one of them;"
    ):
        session_with(Decides, DecidesToo)


def test_one_that_decides_alone_says_why():
    shadow = [Request(load(name), argparse.Namespace()) for name in ("easycache", "shadow")]
    with pytest.raises(Refused) as refusal:
        Session("mflux-generate", Chosen(shadow))
    assert str(refusal.value) == (
        "plugins 'easycache' and 'shadow' both decide which steps are skipped, and 'shadow' computes every step, to "
        "show what the plugins of --shadow-strategies would skip. Name one of them; plugins that only observe can be "
        "added freely."
    )


# mflux's own parser, extended


@pytest.fixture
def parse(monkeypatch, plugins_in_process):
    """Parse a command line by mflux's parser with our extension; nothing of mflux stays changed."""
    monkeypatch.setattr(CallbackManager, "register_callbacks", staticmethod(CallbackManager.register_callbacks))
    monkeypatch.setattr(startup, "watch", lambda *told: None)
    monkeypatch.setattr(session, "show_warnings", lambda command: None)

    def run(argv: str, extended: bool = True) -> dict[str, object]:
        parser_class = type("CommandLineParser", (CommandLineParser,), {})
        if extended:
            extend(SimpleNamespace(CommandLineParser=parser_class))
        monkeypatch.setattr(sys, "argv", ["mflux-generate", *argv.split()])
        parser = parser_class()
        parser.add_model_arguments(require_model_arg=False)
        parser.add_image_generator_arguments(supports_metadata_config=True)
        parser.add_output_arguments()
        return vars(parser.parse_args())

    return run


@pytest.mark.parametrize(
    "ours",
    [
        "",
        "--plugin none",
        "--plugin watch",
        "--plugin alternate --alternate-every 3",
        "--plugin-compile-blocks",
        "--no-plugin-compile-blocks",
        "--plugin watch --plugin-compile-blocks",
    ],
)
def test_mflux_sees_the_same_namespace(parse, ours):
    plain = "--prompt x --seed 1 2 --steps 5"
    assert parse(f"{plain} {ours}") == parse(plain, extended=False)


def test_only_plugins_change_what_happens_next(parse):
    original = CallbackManager.register_callbacks
    parse("--prompt x --plugin none")
    parse("--prompt x --no-plugin-compile-blocks")
    assert CallbackManager.register_callbacks is original
    parse("--prompt x --plugin watch")
    assert CallbackManager.register_callbacks is not original


def test_the_plugins_are_attached_before_mfluxs_own_callbacks(parse, monkeypatch):
    """Residuals must be gone before the memory saver measures, and mflux calls callbacks in this order."""
    calls = []
    monkeypatch.setattr(CallbackManager, "register_callbacks", lambda *given, **named: calls.append((given, named)))
    monkeypatch.setattr(session, "attach_requests", lambda model, requests, *rest, **more: calls.append(requests))
    parse("--prompt x --plugin watch")
    model = SimpleNamespace(generate_image=lambda: "image")
    CallbackManager.register_callbacks("arguments", model=model, latent_creator="creator")
    [requests, call] = calls
    assert [request.plugin.name for request in requests] == ["watch"]
    assert call == (("arguments", model), {"latent_creator": "creator"})
    assert model.generate_image() == "image"


@pytest.mark.filterwarnings("ignore:unclosed file")  # mflux up to 0.18 leaves it to Python
def test_a_sidecar_brings_the_size_back_only_in_some_mflux(parse, tmp_path):
    sidecar = tmp_path / "run.json"
    sidecar.write_text('{"model": "dev", "prompt": "apple", "steps": 5, "seed": 3, "width": 640, "height": 320}')
    namespace = parse(f"-C {sidecar}")
    assert (namespace["steps"], namespace["seed"]) == (5, [3])
    assert (namespace["width"], namespace["height"]) == ((640, 320) if MFLUX >= (0, 19) else (1024, 1024))


def test_a_parser_without_output_arguments_is_left_alone(monkeypatch, capsys):
    parser_class = type("CommandLineParser", (CommandLineParser,), {})
    extend(SimpleNamespace(CommandLineParser=parser_class))
    monkeypatch.setattr(sys, "argv", ["mflux-info", "--plugin", "nonsense"])
    with pytest.raises(SystemExit):
        parser_class().parse_args()
    assert "unrecognized arguments: --plugin nonsense" in capsys.readouterr().err


def test_a_parser_that_has_changed_is_left_alone_with_a_word(monkeypatch, capsys):
    """Also where Python was told to make errors of warnings: mflux itself goes on."""
    monkeypatch.setattr(sys, "argv", ["/usr/bin/mflux-generate"])
    changed = SimpleNamespace(CommandLineParser=type("CommandLineParser", (), {}))
    extend(changed)
    assert capsys.readouterr().err.startswith(
        "mflux-generate: warning: --plugin is off: the parser of the installed mflux has changed"
    )
    assert vars(changed.CommandLineParser).keys() <= {"__module__", "__dict__", "__weakref__", "__doc__"}


# What is certain before the pipeline is made


def foreseen(
    plugin: type, refused: bool, config: object = None, pipeline: type | None = Flux1, **arguments: object
) -> None:
    """mflux begins to fetch something before its pipeline."""
    made = session_with(plugin, **arguments)
    made._pipeline, made._config = pipeline, config
    with pytest.raises(SystemExit, match="^2$") if refused else contextlib.nullcontext():
        made.foresee()


class Picky(Judge):
    @hookimpl
    def mflux_check(self, target: Target) -> None:
        super().mflux_check(target)
        if target.model == "black-forest-labs/FLUX.1-schnell" or target.active_steps == 3:
            raise Refused("not this")


@pytest.mark.parametrize(
    ("known", "refused"),
    [
        ({}, False),
        ({"steps": 4}, False),
        ({"steps": 3}, True),
        ({"config": ModelConfig.dev(), "steps": 4}, False),
        ({"config": ModelConfig.schnell(), "steps": 4}, True),
        ({"config": ModelConfig.schnell(), "pipeline": None, "steps": 3}, False),
    ],
)
def test_what_is_certain_is_refused_before_anything_is_fetched(capsys, known, refused):
    foreseen(Picky, refused, **known)
    assert capsys.readouterr().err == ("mflux-generate: error: not this\n" if refused else "")


def test_an_unsupported_pipeline_is_refused_before_its_loras_are_fetched(capsys):
    foreseen(Judge, True, pipeline=Flux1Concept)
    assert "plugins do not run on the pipeline Flux1Concept" in capsys.readouterr().err


def test_what_is_loaded_for_a_judged_pipeline_is_not_judged_again():
    made = session_with(Judge, steps=4)
    made._pipeline = Flux1
    made.check(Flux1, {"model_config": ModelConfig.dev()})
    made.foresee()
    assert len(Judge.targets) == 1
