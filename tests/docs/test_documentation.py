"""The documentation says what is so: every snippet runs, every command is run, every link leads somewhere."""

from __future__ import annotations

import ast
import io
import os
import re
import shlex
import tomllib
from collections.abc import Sequence
from contextlib import redirect_stdout
from itertools import groupby
from pathlib import Path
from typing import Any

import hooks_page
import memory_table
import pytest
import supported_page
from commands import SCRIPTS
from fences import IN_ORDER, PAGES, ROOT, Fence, fences

from mflux_teacache import hookspecs, records, step

MFLUX = "https://github.com/mflux-community/mflux"
HOOKS = [name for name in vars(hookspecs) if name.startswith("mflux_")]
ALL = [fence for page in PAGES for fence in fences(page)]
COMMANDS = [(fence, line) for fence in ALL if fence.language == "sh" for line in fence.text.splitlines()]


def _id(value: Any) -> str:
    return f"{value.page}:{value.line}" if isinstance(value, Fence) else str(value)[:40]


def test_the_page_of_hooks_is_made_from_their_docstrings() -> None:
    assert hooks_page.PAGE.read_text(encoding="utf-8") == hooks_page.render(), "run python tests/docs/hooks_page.py"


@pytest.mark.parametrize("cls", hooks_page.RECORDS, ids=lambda cls: cls.__name__)
def test_every_field_and_property_of_a_value_is_on_the_page(cls: type) -> None:
    section = hooks_page.record(cls)
    assert section in hooks_page.PAGE.read_text(encoding="utf-8")
    fields = list(getattr(cls, "__dataclass_fields__", ()))
    for name in (*fields, *(name for name, value in vars(cls).items() if isinstance(value, property))):
        assert name.startswith("_") or f"`{name}: " in section, name


def test_every_value_that_a_hook_names_is_on_the_page() -> None:
    named = {
        name
        for hook in HOOKS
        for annotation in getattr(hookspecs, hook).__annotations__.values()
        for name in re.findall(r"\w+", annotation)
    }
    ours = {
        name
        for module in (records, step)
        for name in named
        if getattr(vars(module).get(name), "__module__", None) == module.__name__
    }
    assert ours
    assert ours <= {cls.__name__ for cls in hooks_page.RECORDS}


def test_the_page_of_models_is_made_from_the_tables() -> None:
    assert supported_page.PAGE.read_text(encoding="utf-8") == supported_page.render(), (
        "run python tests/docs/supported_page.py"
    )


def test_the_table_of_memory_is_computed() -> None:
    assert memory_table.in_page() == memory_table.render(), "run tests/docs/memory_table.py"


def test_what_troubleshooting_says_of_memory_is_in_the_table() -> None:
    rows = [line.split(" | ")[5:] for line in memory_table.in_page().splitlines()[2:]]
    cells = [float(cell) for row in rows for cell in (row[0], row[1])]
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    assert f"at 1024x1024 between {min(cells):g} and {max(cells):g} MiB" in " ".join(text.split())


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_a_heading_with_its_signature(hook: str) -> None:
    assert f"\n## `{hooks_page.signature(getattr(hookspecs, hook))}`\n" in hooks_page.PAGE.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(f.language == "python" for f in fences(page))], ids=lambda p: p.name
)
def test_python_runs_from_top_to_bottom_and_prints_what_it_says(page: Path) -> None:
    names: dict[str, Any] = {"__name__": "documentation"}
    printed = ""
    for fence in fences(page):
        if fence.language == "python":
            output = io.StringIO()
            with redirect_stdout(output):
                exec(compile(fence.text, f"{page.name}:{fence.line}", "exec"), names)
            printed = output.getvalue()
        elif fence.language == "text":
            assert printed == fence.text, f"{page.name}:{fence.line}"


@pytest.mark.slow
def test_strategies_of_the_tutorial_do_what_it_says() -> None:
    from mflux_teacache import Refused, attach
    from mflux_teacache.demo.model import tiny_klein

    names: dict[str, Any] = {"__name__": "documentation"}
    for fence in fences(ROOT / "docs" / "writing-a-plugin.md"):
        if fence.language == "python":
            with redirect_stdout(io.StringIO()):
                exec(fence.text, names)
    image = {"seed": 1, "prompt": "a large fox on yellow", "height": 128, "width": 128, "guidance": 1.0}
    with tiny_klein() as model:
        with attach(model, names["LateSkip"], start=4) as handle:
            model.generate_image(num_inference_steps=6, **image)
            assert handle.stats.last_generation is not None
            assert handle.stats.last_generation.pattern == "CCCCCS"
            with pytest.raises(Refused, match="--lateskip-start 4 leaves nothing to skip in 3 steps"):
                model.generate_image(num_inference_steps=3, **image)
        with attach(model, names["Quiet"]) as handle:
            model.generate_image(num_inference_steps=28, **image)
            assert handle.stats.skipped_count > 0
        with redirect_stdout(io.StringIO()) as printed, attach(model, names["Watch"]):
            model.generate_image(num_inference_steps=2, **image)
        assert [line.split()[0] for line in printed.getvalue().splitlines()] == ["0", "1"]


@pytest.mark.parametrize("fence", [fence for fence in ALL if fence.language == "toml"], ids=_id)
def test_toml_is_valid_and_names_the_group(fence: Fence) -> None:
    assert "mflux.plugins" in tomllib.loads(fence.text)["project"]["entry-points"]


@pytest.mark.parametrize(
    ("fence", "line"),
    # test_commands_in_order.py and test_looking_at_results.py run the others.
    [
        (f, line)
        for f, line in COMMANDS
        if line.startswith("mflux-generate") and f.page not in {*IN_ORDER, "looking-at-results.md"}
    ],
    ids=_id,
)
def test_generate_commands_run_as_written(commands: Any, fence: Fence, line: str) -> None:
    """On tiny random weights, which do not care for 64 pixels more or less."""
    words = shlex.split(line)
    ran = commands.run(words[0], *words[1:], "--width", "64", "--height", "64", "--output", f"line{fence.line}.png")
    assert ran.code == 0, ran.err
    at_work = words[words.index("--plugin") + 1] if "--plugin" in words else "compiled blocks"
    assert re.search(rf"(?m)^{at_work}: ", ran.out), ran.out
    assert commands.pixels(f"line{fence.line}.png").shape == (64, 64, 3)


# What each prints.
OWN = (
    ("mflux-teacache demo --plugin auto", "14/28"),
    ("mflux-teacache doctor", "yes, mflux's commands know --plugin"),
    ("mflux-teacache bench speed --steps 6 --repetitions 1", "CSSCSC"),
    (
        "mflux-teacache bench quality --prompts 16 --seeds 2 --json quality.json --png quality.png --sheet sheet.png",
        "schedule every=2",
    ),
)
# Commands with a test module for their page, such as test_tuning_page.py.
ELSEWHERE = ("mflux-teacache tune ", "mflux-teacache show ", "mflux-teacache report ")
SHORTER = {OWN[-1][0]: "--prompts 1 --seeds 1 --steps 4 --setting 'schedule every=2'"}


def test_own_commands_run_as_written(commands: Any) -> None:
    """`uv run` finds them in the environment that runs this test. An hour of images is cut down to seconds."""
    lines = [line.rpartition("uv run ")[2] for _, line in COMMANDS if "mflux-teacache " in line]
    written = {line for line in lines if not any(other in line for other in ELSEWHERE)}
    assert written == {line for line, _ in OWN}
    for line, said in OWN:
        ran = commands.run(
            *shlex.split(f"{line} {SHORTER.get(line, '')}"), PATH=f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}"
        )
        assert said in ran.out, ran.err
        assert ran.code == (1 if line.endswith("doctor") else 0), ran.err  # two plugins of the tests are broken
    assert (commands.folder / "mflux-teacache-demo.png").exists()


def test_there_is_no_command_that_no_test_runs() -> None:
    left = {
        line
        for fence, line in COMMANDS
        if not line.startswith(("mflux-generate", "mflux-teacache ")) and "demo" not in line
        if fence.page != "tuning.md"
    }
    # This run is the first. The others are run by test_install.py, and on a built wheel by .ci/installed.
    assert left == {
        "pip install uv && uv run pytest -n auto",
        "pip install mflux-teacache-plugin",
        "pip install .",
        "uv tool install mflux --with-executables-from mflux-teacache-plugin",
        "uv tool install mflux --with-executables-from mflux-teacache-plugin --with .",
    }


STRATEGIES = (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8")
SECTIONS = {section.split("`")[0]: section for section in STRATEGIES.split("\n## `")[1:]}


@pytest.mark.parametrize("strategy", SECTIONS)
def test_a_strategy_s_section_has_its_options_and_their_defaults(strategy: str) -> None:
    from mflux_teacache.options import Declared
    from mflux_teacache.plugins import load

    real = {
        action.option_strings[0]: "off" if action.default is False else action.default
        for action in Declared(load(strategy)).actions
    }
    rows = dict(re.findall(r"(?m)^\| `(--[\w-]+)` \| .* \| (.*) \|$", SECTIONS[strategy]))
    assert list(rows) == list(real)
    # A default that comes from elsewhere is told in words.
    assert all(rows[option] == str(default) for option, default in real.items() if default is not None)


def test_the_strategies_tables_of_magcache_are_the_shipped_ones() -> None:
    from mflux_teacache.strategies.magcache.table import shipped

    rows = re.findall(r"(?m)^\| `([\w-]+)` \| (\S+) \| (\S+) \| (\S+) \| (\S+) \| (\S+) \|$", SECTIONS["magcache"])
    assert rows == [
        (t.name, t.model, str(len(t.ratios)), f"{t.threshold:g}", f"{t.skip_first:g}", str(t.max_skips))
        for t in shipped().values()
    ]


def _spelt(steps: Sequence[int]) -> str:
    """Runs of three or more steps as ``0-4``."""
    runs = [[step for _, step in run] for _, run in groupby(enumerate(steps), lambda pair: pair[1] - pair[0])]
    return " ".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else " ".join(map(str, run)) for run in runs)


def test_the_strategies_lists_of_schedule_are_the_shipped_ones() -> None:
    from mflux_teacache.strategies.schedule.lists import shipped

    cell = r" ([^|]+) \|"
    rows = re.findall(rf"(?m)^\| `([\w-]+)` \|{cell * 6}$", SECTIONS["schedule"])
    names = {"GPH": "The Golden Path Hypothesis,", "LeMiCa": "LeMiCa,", "MeanCache": "MeanCache,"}
    listed = [(lists, each) for lists in shipped().values() for each in lists.lists]
    assert [(*row[:5], row[6]) for row in rows] == [
        (lists.name, str(len(each.computed)), _spelt(each.computed), each.size, each.reuse, each.license)
        for lists, each in listed
    ]
    assert all(str(each.source).startswith(names[row[5]]) for row, (_, each) in zip(rows, listed, strict=True))


def test_the_schedule_s_file_of_one_s_own_is_read() -> None:
    from mflux_teacache.strategies.schedule.lists import FILES

    [content] = [fence.text for fence in ALL if fence.page == "strategies.md" and fence.language == "json"]
    [listed] = FILES.parse(content, "the documented one").lists
    assert len(listed.computed) == 12


@pytest.mark.parametrize("path", sorted((ROOT / "mflux_teacache").rglob("*.py")), ids=lambda path: path.stem)
def test_no_message_names_a_page_that_an_installed_package_does_not_have(path: Path) -> None:
    """Docstrings may: whoever reads those has the source."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    cited = [node.value for node in texts if id(node) not in docstrings and re.search(r"docs/|\w\.md\b", node.value)]
    assert cited == []


def test_the_package_says_where_mflux_lives() -> None:
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    assert urls["mflux"] == MFLUX
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"[mflux]: {MFLUX}\n" in readme
    assert "filipstrand" not in readme


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_named_files_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert all((page.parent / link).exists() for link in links), links
    named = re.findall(r"`((?:mflux_teacache|tests|docs)/[\w./-]+)`", text)
    assert all((ROOT / name).exists() for name in named), named
