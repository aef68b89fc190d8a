"""A pipeline is judged when mflux begins to make it, whichever way it was imported."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from mflux_teacache.cli.startup import watch

PIPELINE = """
class Pipeline:
    def __init__(self, quantize=None, model_config="default"):
        self.built_with = (quantize, model_config)

    def generate_image(self): ...

class SubPipeline(Pipeline):
    def __init__(self, extra):
        super().__init__(8)

class Inherits(Pipeline): ...

class Tokenizer:
    def __init__(self): ...
"""


@pytest.fixture
def models(tmp_path, monkeypatch) -> ModuleType:
    """A package in the place of ``mflux.models``; returns its module ``early``, imported already."""
    package = tmp_path / "mflux" / "models"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "early.py").write_text(PIPELINE)
    (package / "late.py").write_text(PIPELINE + "from mflux.models.early import Pipeline as Imported")
    for name in [name for name in sys.modules if name.partition(".")[0] == "mflux"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.syspath_prepend(tmp_path)

    import mflux.models.early

    yield mflux.models.early
    for name in [name for name in sys.modules if name.partition(".")[0] == "mflux"]:
        del sys.modules[name]


@pytest.fixture
def judged(models):
    seen = []

    def check(cls, arguments):
        seen.append((cls.__module__, cls.__name__, dict(arguments)))

    watch(check)
    return seen


@pytest.mark.parametrize("module", ["early", "late"])
def test_a_pipeline_is_judged_with_the_arguments_of_its_init(judged, module):
    pipelines = __import__(f"mflux.models.{module}", fromlist=["Pipeline"])

    model = pipelines.Pipeline(4)

    [(home, name, arguments)] = judged
    assert (home, name) == (f"mflux.models.{module}", "Pipeline")
    assert arguments == {"self": model, "quantize": 4, "model_config": "default"}
    assert model.built_with == (4, "default")


def test_a_pipeline_that_another_module_imports_is_judged_once(judged, models):
    from mflux.models.late import Imported

    assert Imported is models.Pipeline
    models.Pipeline()
    assert len(judged) == 1


def test_a_subclass_is_judged_once_and_as_itself(judged, models):
    models.SubPipeline(extra=1)
    assert [(name, arguments.get("extra")) for _, name, arguments in judged] == [("SubPipeline", 1)]


def test_a_pipeline_without_an_init_of_its_own_is_judged_too(judged, models):
    assert models.Inherits(quantize=3).built_with == (3, "default")
    assert [(name, arguments["quantize"]) for _, name, arguments in judged] == [("Inherits", 3)]


def test_other_classes_are_left_alone(judged, models):
    models.Tokenizer()
    assert judged == []


def test_what_the_check_raises_comes_before_the_init(models):
    def refuse(cls, arguments):
        assert not hasattr(arguments["self"], "built_with")
        raise ZeroDivisionError

    watch(refuse)
    with pytest.raises(ZeroDivisionError):
        models.Pipeline()


def test_wrong_arguments_fail_as_ever(judged, models):
    with pytest.raises(TypeError, match="nonsense"):
        models.Pipeline(nonsense=1)
    assert judged == []
