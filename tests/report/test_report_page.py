"""``mflux-teacache report``: which files it takes, and what is on its page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import report_files
from mutated import texts
from report_files import ALL, MEASUREMENTS, calibration, quality, shadow, speed, tune, written
from shown_images import ENTRY, FAST, MADE, image, sidecar

from mflux_teacache.bench import needs
from mflux_teacache.cli.own.main import main
from mflux_teacache.errors import OptionError, PluginWarning
from mflux_teacache.installation import installing
from mflux_teacache.report.files import sections_of
from mflux_teacache.report.page import Section, rendered

pytestmark = pytest.mark.slow


def ran(capsys: Any, *words: object) -> tuple[Any, str]:
    with pytest.raises(SystemExit) as leaving:
        main(["report", *map(str, words)])
    printed = capsys.readouterr()
    return leaving.value.code, printed.err or printed.out


def section(folder: Path, content: Any, name: str = "it.json") -> Section:
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    [made] = sections_of([folder / name])
    return made


def refusal(folder: Path, content: Any) -> str:
    with pytest.raises(OptionError) as refused:
        section(folder, content)
    return str(refused.value)


def test_a_page_of_everything_is_one_file_that_names_no_other(tmp_path: Path, capsys: Any) -> None:
    full, fast = image(tmp_path, "full.png", MADE), image(tmp_path, "fast.png", FAST, shade=93)
    page = tmp_path / "report.html"
    code, said = ran(capsys, full, fast, *written(tmp_path), "--output", page, "--title", "Mine & others'")
    assert code == 0
    assert said.startswith(f"report  {page} (")
    html = page.read_text()
    assert "<title>Mine &amp; others&#39;</title>" in html
    assert re.findall(r"<h2>(.*)</h2>", html) == [
        "fast.png beside full.png",
        "Quality: FLUX.1 [dev]",
        "Tuning: FLUX.1 [dev]",
        "Shadow run: shadow.json",
        "Preset: mine",
        "TeaCache calibration: demo-emoji",
        "Speed: the demo&#39;s tiny FLUX.2, float32",
    ]
    # Every address on the page is a part of it.
    addresses = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert {address[:5] for address in addresses} == {"data:", *(f"#s{number + 1}" for number in range(7))}
    assert "http" not in re.sub(r"data:image/\w+;base64,[\w+/=]+|http-equiv", "", html)


def test_images_are_beside_their_full_run(tmp_path: Path) -> None:
    full, fast = image(tmp_path, "full.png", MADE), image(tmp_path, "fast.png", FAST, shade=93)
    [made] = sections_of([full, fast])
    assert made.summary == (
        "first-block-cache: computed 2 of 3, skipped 1: at best 1.50x. Against the full run: PSNR 43.4 dB, SSIM 0.9998."
    )
    assert made.pair is not None
    assert (made.pair.full.caption, made.pair.fast.caption) == ("full run", "computed 2 of 3")
    assert [picture.caption for picture in made.pictures] == ["difference \u00d7 50"]
    assert len(made.charts) == 1
    assert "reached it" in made.details[0].text
    assert ("prompt", "a lighthouse") in made.facts


def test_the_full_run_is_the_one_that_computed_every_step_in_any_order(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    forced = {**FAST, "mflux_plugins": {**ENTRY, "pattern": "CCC", "steps": {}}}
    full, fast = image(tmp_path, "full.png", MADE), image(tmp_path, "fast.png", FAST, shade=93)
    for first in (full, image(tmp_path, "forced.png", forced)):
        assert [each.title for each in sections_of([fast, first])] == [f"fast.png beside {first.name}"]
    other = [image(tmp_path, f"other-{name}", {**made, "seed": 8}) for name, made in (("f.png", FAST), ("a.png", MADE))]
    titles = [each.title for each in sections_of([fast, *other, full])]
    assert titles == ["fast.png beside full.png", "other-f.png beside other-a.png"]
    # An image that says nothing could be anything, and is never called the full run.
    black = image(tmp_path, "black.png", None, shade=0)
    made = sections_of([black, fast, full])
    assert [each.title for each in made] == ["black.png beside full.png", "fast.png beside full.png"]
    assert made[0].summary.startswith("The file says nothing about how it was made. Against the full run: PSNR ")
    assert not recwarn.list


def test_where_no_image_or_several_computed_every_step_the_page_and_a_warning_say_so(tmp_path: Path) -> None:
    full, fast = image(tmp_path, "full.png", MADE), image(tmp_path, "fast.png", FAST, shade=93)
    few, black = image(tmp_path, "few.png", {**MADE, "steps": 2}), image(tmp_path, "black.png", None, shade=0)
    with pytest.warns(PluginWarning, match="^full.png, few.png are of one picture") as warned:
        made = sections_of([fast, full, few])
    assert made[0].notes == [str(warned[0].message)]
    assert [each.title for each in made] == ["fast.png beside full.png", "few.png beside full.png"]
    with pytest.warns(PluginWarning, match="with every step computed. All are beside black.png") as warned:
        [beside] = sections_of([black, fast])
    assert beside.notes == [str(warned[0].message)]
    assert beside.pair is not None
    assert beside.pair.full.caption == "not known how it was made"
    assert "Against black.png: PSNR" in beside.summary
    assert beside.pair.fast.caption == "computed 2 of 3"


def test_an_image_that_is_not_compared_is_on_the_page_too(tmp_path: Path) -> None:
    full, other = image(tmp_path, "full.png", MADE), image(tmp_path, "other.png", {**FAST, "seed": 8})
    alone, beside = sections_of([full, other])
    assert (alone.title, beside.title) == ("full.png", "other.png")
    assert beside.notes == ["Not compared with full.png: seeds 7 and 8."]


def test_no_folder_is_on_the_page(tmp_path: Path, capsys: Any) -> None:
    entry = json.loads(json.dumps(ENTRY))
    entry["plugins"]["first-block-cache"]["options"] = {"from": "/home/someone/a.png"}
    full = image(tmp_path, "full.png", {**MADE, "model": "/home/someone/mine"})
    fast = image(tmp_path, "fast.png", {**MADE, "mflux_plugins": entry}, shade=93)
    content = {**quality(), "model": "/home/someone/mine, 8 bits", "files": {"/home/someone/x": "abc"}}
    content["summary"][0]["setting"] = "schedule config=/home/someone/plan.json"
    (tmp_path / "quality.json").write_text(json.dumps(content))
    page = tmp_path / "report.html"
    assert ran(capsys, fast, full, tmp_path / "quality.json", "--output", page)[0] == 0
    html = page.read_text()
    assert "All that is known of fast.png" in html
    assert "config=plan.json" in html
    assert not [folder for folder in ("/home", "someone", str(tmp_path)) if folder in html]


def test_what_says_nothing_is_refused_as_show_refuses_it(tmp_path: Path, capsys: Any) -> None:
    code, said = ran(capsys, image(tmp_path, "chart.png", None), "--output", tmp_path / "a.html")
    assert (code, said.count("\n")) == (2, 1)
    assert "chart.png says nothing about how it was made. Name an image that mflux wrote" in said


def test_the_page_replaces_no_file_that_it_is_made_of(tmp_path: Path, capsys: Any) -> None:
    content = tmp_path / "it.html"
    content.write_text(json.dumps(quality()))
    code, said = ran(capsys, content, "--output", content)
    assert code == 2
    assert "--output is " in said
    assert "which this command reads and would replace" in said
    assert content.read_text() == json.dumps(quality())


def test_what_a_file_says_beside_its_pixels_stays_out_of_the_page(tmp_path: Path) -> None:
    import base64

    [made] = sections_of([image(tmp_path, "full.png", {**MADE, "secret": "a-key"})])
    [shown] = made.pictures
    assert b"a-key" not in base64.b64decode(shown.source.partition(",")[2])


@pytest.mark.parametrize("second", ["a sidecar", "another seed"])
def test_what_cannot_be_compared_is_told_alone(second: str, tmp_path: Path) -> None:
    full = image(tmp_path, "full.png", MADE)
    other = sidecar(tmp_path) if second == "a sidecar" else image(tmp_path, "other.png", {**FAST, "seed": 8})
    made = sections_of([full, other])[-1]
    assert made.pair is None
    assert str(made.notes[0]).startswith("Not compared with full.png: ")
    assert len(made.charts) == 1


def test_quality_has_the_fewer_steps_and_what_does_not_beat_them(tmp_path: Path) -> None:
    made = section(tmp_path, quality())
    assert made.summary.startswith("Closest of those that are at least 2x as fast: schedule every=2, 2.00x, 25.0 dB")
    assert made.table is not None
    assert [row[0] for row in made.table.rows] == [
        "fewer steps: 2",
        "fewer steps: 3",
        "teacache thresh=0.1",
        "schedule every=2",
    ]
    # 27.5 dB in 2 steps and 30 dB in 3: nothing is both faster and closer.
    assert made.table.marked == {0, 2}
    assert "  schedule every=2: 25.0 dB, where fewer steps have 27.5 dB" in made.notes
    assert ("machine", "M4, Darwin, arm64") in made.facts


def test_a_tuning_has_how_well_full_runs_foretold_real_ones(tmp_path: Path, axes: list[Any]) -> None:
    made = section(tmp_path, tune())
    assert ("preset", "mine") in made.facts
    assert [each.title for each in made.details][-3:] == [
        "Prompts that the settings were chosen on",
        "Prompts that they were checked on",
        "Left out",
    ]
    assert made.details[-2].text == "a cat (seed 2)"
    upper, lower = axes[-2:]
    assert upper.lines[1].get_xdata().tolist() == pytest.approx([-3, -2, -1, 0])
    # Through 40, 30, 20 and 13 dB goes 26.65 - 9.1 (x + 1.5), with x the power of 10 of the error.
    assert lower.lines[1].get_ydata().tolist() == pytest.approx([0.6, -0.3, -1.2, 0.9], abs=0.01)


@pytest.mark.parametrize("candidates", [[], [1], [{"setting": 1}], [{"setting": {"options": {}}, "error": "x"}]])
def test_a_tuning_without_that_is_shown_without(candidates: list[Any], tmp_path: Path) -> None:
    assert len(section(tmp_path, {**tune(), "candidates": candidates}).charts) == 1


def test_of_many_settings_the_best_are_shown_and_the_others_folded_away(tmp_path: Path) -> None:
    content = json.loads((MEASUREMENTS / "quality-demo.json").read_text())
    made = section(tmp_path, content)
    assert made.table is not None
    assert made.whole is not None
    fewer = len(content["fewer_steps"]["summary"])
    assert len(made.whole.rows) == len(content["summary"]) + fewer
    assert fewer < len(made.table.rows) <= len(made.table.marked) + fewer < len(made.whole.rows)


def test_a_file_of_an_earlier_version_has_no_fewer_steps(tmp_path: Path) -> None:
    content = quality()
    del content["fewer_steps"]
    made = section(tmp_path, content)
    assert made.notes[0] == (
        "The file has no fewer steps to compare with: it is of an earlier version, or was interrupted."
    )


@pytest.mark.parametrize("path", sorted(MEASUREMENTS.glob("*.json")), ids=lambda path: path.stem)
def test_every_measurement_of_the_documentation_can_be_shown(path: Path) -> None:
    [made] = sections_of([path])
    assert made.charts
    assert made.table is not None


def test_speed_says_what_was_reached(tmp_path: Path) -> None:
    made = section(tmp_path, speed())
    assert made.summary == "skipping took 0.410 of plain mflux's time; 0.400 if skipped steps took none."
    assert made.table is not None
    assert [row[0] for row in made.table.rows] == ["plain", "all computed", "skipping"]


def test_a_shadow_run_is_shown_from_its_json_and_from_its_image(tmp_path: Path) -> None:
    made = section(tmp_path, shadow())
    assert made.table is not None
    rows = [["teacache", "0.1", "3 of 4", "1.33x", "2.0", "2.0"], ["teacache", "0.2", "2 of 4", "2.00x", "3.0", "4.0"]]
    assert list(made.table.rows) == [*rows, ["schedule", "-", "2.25 of 4", "1.78x", "4.0", "5.0"]]
    assert "magcache is left out: it has no table." in made.details[0].text
    plugins = {"shadow": {"options": {}, "values": shadow()}}
    entry = {**ENTRY, "decider": "shadow", "pattern": "CCC", "plugins": plugins, "steps": {}}
    of_image = sections_of([image(tmp_path, "a.png", {**MADE, "mflux_plugins": entry})])
    assert [each.title for each in of_image] == ["a.png", "Shadow run: a.png"]
    assert of_image[1].table == made.table


def test_a_preset_has_its_evidence_beside_fewer_steps(tmp_path: Path, axes: list[Any]) -> None:
    made = section(tmp_path, ALL["preset.json"])
    assert made.table is not None
    checked, other = made.table.rows
    assert list(checked)[1:] == ["4/10", "2.50x", "31.5", "27.0", "0.9700", "0.9300", "22.4", "4"]
    assert list(other)[1:4] == ["6/10", "1.67x", "not checked"]
    lines = {line.get_label(): line.get_ydata().tolist() for line in axes[0].lines}
    assert (lines["schedule"], lines["fewer steps"]) == ([31.5], [22.4])


def test_a_calibration_has_its_residuals_where_it_has_what_it_was_fitted_to(tmp_path: Path, axes: list[Any]) -> None:
    made = section(tmp_path, calibration(changes=30))
    assert made.notes == []
    assert [len(line.get_ydata()) for line in axes[0].lines] == [200, 30]
    assert len(axes[1].lines[1].get_ydata()) == 30
    without = section(tmp_path, {name: value for name, value in calibration().items() if name != "changes"})
    assert without.notes == [
        "The changes that it was fitted to are not in the file, so there are no residuals to draw."
    ]
    assert len(axes) == 3


def test_everything_is_escaped() -> None:
    evil = "<script>alert(1)</script>\"'&\u202e\x1b"
    page = rendered(evil, [Section(title=evil, summary=evil, facts=[(evil, evil)], notes=[evil])] * 2, evil)
    assert page.count("<script>") == 1
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;&amp;\\u202e\\x1b") >= 10


def test_names_with_dollar_signs_are_no_formulas(tmp_path: Path, axes: list[Any]) -> None:
    content = quality()
    content["summary"][0] |= {"setting": "$\\frac{$", "series": "$\\frac{$"}
    assert section(tmp_path, content).charts
    assert "$\\frac{$" in [line.get_label() for line in axes[0].lines]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"summary": [{"setting": "x"}]}, "it.json: summary[0] lacks series"),
        ({"summary": [{**quality()["summary"][0], "psnr": "x"}]}, "it.json: summary[0].psnr is 'x', and it must be"),
        ({"summary": [{**quality()["summary"][0], "steps": 0}]}, "it.json has 'teacache thresh=0.1' with 3 of 0 steps"),
        ({"summary": []}, "is none of the files that a report is made of. Name images"),
        ({"summary": [], "interrupted": True}, "it.json has no setting that was measured whole. Let its command go on"),
        ({"fewer_steps": {"summary": [1]}}, "it.json: fewer_steps.summary[0] is 1"),
    ],
)
def test_a_quality_file_with_something_else_is_refused(change: dict[str, Any], problem: str, tmp_path: Path) -> None:
    assert problem in refusal(tmp_path, {**quality(), **change})


def test_other_files_are_refused(tmp_path: Path) -> None:
    for content in ({}, [], {"a": 1}, MADE):
        assert "is none of the files that a report is made of. Name images" in refusal(tmp_path, content)
    assert "cannot be read" in refusal(tmp_path, "no JSON")
    assert "has 0 runs with 0 numbers of steps" in refusal(tmp_path, {"path": "full run", "runs": []})
    assert "has runs that do not go together" in refusal(tmp_path, {**speed(), "runs": speed()["runs"][1:]})
    assert "must have an error for each" in refusal(
        tmp_path, {**shadow(), "runs": [{"strategy": "a", "pattern": "CS"}]}
    )
    with pytest.raises(OptionError, match="13 images are named; a page takes at most 12"):
        sections_of([image(tmp_path, f"{number}.png", MADE) for number in range(13)])


def test_a_wrong_output_is_refused_before_anything_is_read(tmp_path: Path, capsys: Any) -> None:
    code, said = ran(capsys, tmp_path / "missing.json", "--output", tmp_path / "a.pdf")
    assert (code, said.count("\n")) == (2, 1)
    assert "its name must end in .html" in said
    code, said = ran(capsys, tmp_path / "missing.json", "--output", tmp_path / "a.html")
    assert (code, said.count("\n")) == (2, 1)
    assert "missing.json cannot be read: No such file" in said
    assert not (tmp_path / "a.html").exists()


def test_without_jinja2_it_says_what_to_install(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "find_spec", lambda name: None if name == "jinja2" else name)
    code, said = ran(capsys, image(tmp_path, "a.png", MADE))
    assert code == 2
    how = installing("mflux-teacache-plugin[report]")
    assert f"needs jinja2, which is missing. Install it with `{how}`." in said


@pytest.mark.parametrize("name", ["quality.json", "tune.json", "shadow.json", "speed.json"])
def test_files_that_were_tampered_with_are_shown_or_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[object] = []

    def no_chart(draw: object, text: str, caption: str = "") -> Any:
        drawn.append(draw)
        return report_files

    for module in ("measurements", "shadow", "tuning"):  # drawing each takes a second
        monkeypatch.setattr(f"mflux_teacache.report.{module}.chart", no_chart)
    content = report_files.ALL[name]
    if name == "speed.json":  # of 15 runs the first three are enough
        content = {**content, "runs": content["runs"][:3]}
    path, refused, count = tmp_path / "it.json", 0, 300
    for text in texts(content, count, seed=5):
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            sections_of([path])
        except OptionError:
            refused += 1
    assert 20 < refused < count - 20
    assert len(drawn) >= count - refused
