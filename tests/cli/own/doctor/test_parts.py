"""The other parts of the page: versions, how it was installed, mflux's commands, MLX, plugins."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import pytest
from preset_files import preset

from mflux_teacache import installation
from mflux_teacache.cli.own.doctor import mflux_commands, mlx_device, plugin_states, probe, versions
from mflux_teacache.cli.own.doctor import user_presets as presets_part
from mflux_teacache.cli.own.doctor.page import Part
from mflux_teacache.errors import OptionError
from mflux_teacache.presets import store

PACKAGE = "mflux-teacache-plugin"


def test_not_installed_at_all(monkeypatch):
    def missing(name: str) -> object:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(versions, "requires", missing)
    assert {"mflux", "mlx"} <= set(versions.versions().facts)


def test_versions_of_what_it_needs():
    part = versions.versions()
    assert not part.broken
    assert part.facts["mflux"] == version("mflux")
    assert "skimage" not in part.facts  # of an extra
    assert {"mlx", "numpy", "pluggy", "Python", "system"} <= set(part.facts)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("mlx>=99", f"mlx is {version('mlx')}, and {PACKAGE} needs mlx>=99. Install it into this environment with "),
        ("not-there>=1", f"not-there is not installed, and {PACKAGE} needs not-there>=1. Install it into"),
    ],
)
def test_an_unmet_need(monkeypatch, asked, said):
    monkeypatch.setattr(versions, "requires", lambda name: [asked, "never>=1; extra == 'bench'"])
    [broken] = versions.versions().broken
    assert broken.startswith(said)
    assert broken.endswith(f"`{installation.installing(asked)}`.")


def test_mflux_s_commands_are_those_of_this_environment(monkeypatch):
    monkeypatch.setattr(mflux_commands.shutil, "which", lambda name: None)
    part = mflux_commands.mflux_commands()
    assert not part.broken
    assert part.facts["mflux-generate"].startswith("not on the PATH, but at ")
    assert part.facts["commands"].endswith(" make images")


@pytest.mark.parametrize(
    ("script", "knows"), [("", False), ("echo --plugin", True), ("[ $MFLUX_PLUGINS ] || echo --plugin", True)]
)
def test_mflux_s_commands_of_another_environment(monkeypatch, tmp_path, script, knows):
    other = tmp_path / "mflux-generate"
    other.write_text(f"#!/bin/sh\n{script}\n")
    monkeypatch.setattr(mflux_commands.shutil, "which", lambda name: str(other))
    monkeypatch.setenv("MFLUX_PLUGINS", "0")
    said = f"mflux-generate on the PATH is {other}, of another environment than this one, and does not know --plugin."
    [broken] = mflux_commands.mflux_commands().broken  # it cannot be run
    assert broken.startswith(said)
    other.chmod(0o755)
    assert [text.startswith(said) for text in mflux_commands.mflux_commands().broken] == [True] * (not knows)


def test_a_link_to_this_environment_s_is_none_of_another_one(monkeypatch, tmp_path):
    link = tmp_path / "mflux-generate"
    link.symlink_to(mflux_commands._here())
    monkeypatch.setattr(mflux_commands.shutil, "which", lambda name: str(link))
    assert mflux_commands.mflux_commands().broken == ()


def said_by_mlx(monkeypatch, backends, system):
    info = {"device_name": "Apple M4", "memory_size": 2**34}
    monkeypatch.setattr(
        mlx_device, "answer_of", lambda script, name: {"device": "Device(gpu, 0)", "backends": backends, "info": info}
    )
    monkeypatch.setattr(mlx_device.platform, "system", lambda: system)
    return mlx_device.mlx_device()


def test_mlx_on_a_mac(monkeypatch):
    part = said_by_mlx(monkeypatch, {"metal": True, "cuda": False}, "Darwin")
    assert part.facts == {"default device": "Device(gpu, 0)", "backends": "metal, cpu", "machine": "Apple M4, 16 GiB"}
    assert not part.broken


def test_mlx_without_metal(monkeypatch):
    [broken] = said_by_mlx(monkeypatch, {"metal": False}, "Darwin").broken
    assert "must print arm64" in broken
    assert said_by_mlx(monkeypatch, {"metal": False}, "Linux").broken == []


def _failing(monkeypatch, failure: str, needs: list[str]) -> Part:
    def fails(script: str, name: str) -> object:
        raise probe.Failed(failure)

    monkeypatch.setattr(mlx_device, "answer_of", fails)
    monkeypatch.setattr(mlx_device, "requires", lambda name: needs)
    return mlx_device.mlx_device()


@pytest.mark.parametrize(
    ("failure", "needs", "needed"),
    [
        ("ImportError: no", ["mlx[cuda13]==1.0"], "mlx[cuda13]==1.0"),
        ("ImportError: libcuda.so.1 is missing", ["mlx[cuda13]==1.0"], "mlx[cpu]==1.0"),
        ("ImportError: no", ["numpy", "mlx==3.0 ; sys_platform == 'nowhere'"], "mlx"),
    ],
)
def test_the_mlx_that_mflux_needs(monkeypatch, failure: str, needs: list[str], needed: str):
    [broken] = _failing(monkeypatch, failure, needs).broken
    assert installation.installing(needed, anew=True) in broken


def test_mlx_that_does_not_work(monkeypatch):
    part = _failing(monkeypatch, "ImportError: no", ["mlx<2.0,>=1.0"])
    [broken] = part.broken
    needed = installation.installing("mlx<2.0,>=1.0", anew=True)
    assert broken == f"MLX does not work here: ImportError: no. Install it anew with `{needed}`."
    plugins = plugin_states.plugin_states(part)
    assert plugins == Part("plugins", {"not tried": "they need MLX, which does not work"})


def test_broken_plugins(plugins_in_process):
    part = plugin_states.plugin_states(Part("MLX"))
    assert part.facts["watch (cli-plugins 1.0)"] == "tool"
    assert part.facts["broken (cli-plugins 1.0)"] == "broken"
    assert [text.split(":")[0] for text in part.broken] == [
        "plugin 'broken' of package cli-plugins 1.0 cannot be imported",
        "plugin 'clash'",
    ]


def test_a_package_that_cannot_be_read(monkeypatch, tmp_path):
    import damaged

    unreadable = damaged.install(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    part = plugin_states.plugin_states(Part("MLX"))
    assert all(part.facts[name] == "entry points cannot be read" for name in unreadable)
    assert any(text.startswith(f"{unreadable[0]}: its plugins, if it has some") for text in part.broken)


def test_presets(monkeypatch, tmp_path):
    monkeypatch.setenv(store.VARIABLE, str(tmp_path))
    made = store.save(preset("mine"))
    (made.parent / "corrupt.json").write_text(made.read_text()[:300])
    part = presets_part.user_presets()
    assert part.facts == {
        "data directory": f"{tmp_path}, named by {store.VARIABLE}",
        "corrupt": "broken",
        "mine": "black-forest-labs/FLUX.1-dev, 8 bits, 1024x1024, 10 steps: 2 settings",
    }
    [broken] = part.broken
    assert broken.startswith(f"The preset {made.parent / 'corrupt.json'} is not JSON: ")
    assert broken.endswith(", or move it away.")


def test_no_presets_yet_are_nothing_broken(monkeypatch, tmp_path):
    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "data"))
    part = presets_part.user_presets()
    assert part.facts == {"data directory": f"{tmp_path / 'data'}, which is not there yet, named by {store.VARIABLE}"}
    assert not part.broken
    assert not (tmp_path / "data").exists()


def test_presets_that_cannot_be_listed(monkeypatch):
    def refuse() -> list[store.Stored]:
        raise OptionError("The presets cannot be listed.")

    monkeypatch.setattr(store, "stored", refuse)
    assert presets_part.user_presets().broken == ["The presets cannot be listed."]


# --- Trying something in a process of its own ---


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("import sys; sys.exit('a word.')", "a word"),
        ("raise ValueError('of no use')", "ValueError: of no use"),
        ("print('not JSON')", "exit code 0, without a word"),
        ("import os; os.abort()", "exit code -6, without a word"),
    ],
)
def test_a_script_without_an_answer(script, said):
    with pytest.raises(probe.Failed) as failed:
        probe.answer_of(script, "mine")
    assert str(failed.value) == said


def test_a_script_s_answer_is_its_last_line():
    script = "import sys; print('hello'); print(f'\"{sys.argv[0][-4:]}\"')"
    assert probe.answer_of(script, "mine") == "mine"


def test_patience_has_an_end(monkeypatch):
    monkeypatch.setattr(probe, "PATIENCE", 0.2)
    with pytest.raises(probe.Failed, match="it did not end within"):
        probe.answer_of("import time; time.sleep(60)", "mine")
