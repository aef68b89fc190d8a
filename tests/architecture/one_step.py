"""How far one step is told in one place: the files of ours that a skipped step passes, and a command line to the loop.

Run as a script, it prints the numbers and the names. A file counts where a function that is written in it is called;
what importing it runs does not.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import mflux_teacache

ROOT = Path(mflux_teacache.__file__).parent
SUPPORT = Path(__file__).parent.parent / "support"

# The options are those of the README's first command; the model's weights are tiny random ones.
COMMAND = ["mflux-generate", "--plugin", "teacache", "--teacache-thresh", "0.2", "--model", "dev", "--steps", "12"]
COMMAND += ["--prompt", "a red apple", "--seed", "42", "--width", "64", "--height", "64"]

STEPS = 8
MEASURED = 4  # its body is skipped, as is that of the step before, so that nothing of it is traced for the first time


class Call(NamedTuple):
    """A call of a function of ours.

    Attributes:
        file: in which the function is written, within the package.
        function, line: its name, and where it begins.
    """

    file: str
    function: str
    line: int


@dataclass
class Passed:
    """The functions of ours that were called, in the order in which they were."""

    calls: list[Call] = field(default_factory=list)

    @property
    def files(self) -> list[str]:
        """In the order in which they were first entered."""
        return list(dict.fromkeys(call.file for call in self.calls))

    @property
    def switches(self) -> int:
        """How often the function that is called next stands in another file."""
        return sum(one.file != other.file for one, other in pairwise(self.calls))

    def __str__(self) -> str:
        counts = f"{len(self.files)} files, {len(set(self.calls))} functions, {self.switches} switches"
        return f"{counts}: {', '.join(self.files)}"


@contextlib.contextmanager
def following(passed: Passed) -> Iterator[None]:
    """Note the calls of this thread. Comprehensions are part of the function around them."""
    importing = 0

    def note(frame: FrameType, event: str, argument: object) -> None:
        nonlocal importing
        code = frame.f_code
        if event not in ("call", "return") or not Path(code.co_filename).is_relative_to(ROOT):
            return
        if code.co_name == "<module>":
            importing += 1 if event == "call" else -1
        elif event == "call" and not importing and (code.co_name == "<lambda>" or not code.co_name.startswith("<")):
            passed.calls.append(Call(os.path.relpath(code.co_filename, ROOT), code.co_name, code.co_firstlineno))

    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)


class _OneStep:
    """A callback of mflux, called when a step is over: follows the next one from its beginning to its end."""

    def __init__(self) -> None:
        self.passed = Passed()
        self._stack = contextlib.ExitStack()

    def call_in_loop(self, *, t: int, **_: Any) -> None:
        self._stack.close()
        if t == MEASURED - 1:
            self._stack.enter_context(following(self.passed))


def skipped_step(make: Callable[[], Any]) -> Passed:
    """A step of TeaCache's in which a model's body is skipped.

    Args:
        make: a tiny pipeline.
    """
    import tiny_models

    with tiny_models.float32(), tiny_models.narrow():
        model = make()
        one_step = _OneStep()
        # A polynomial that predicts no change: what is skipped is all but the first step and the last.
        with mflux_teacache.attach(model, "teacache", coefficients=[0.0], thresh=1.0) as handle:
            model.callbacks.in_loop.append(one_step)
            model.generate_image(seed=1, prompt="x", num_inference_steps=STEPS, height=64, width=64)
        image = handle.stats.last_generation
        assert image is not None
        assert image.pattern[MEASURED - 1 : MEASURED + 1] == "SS", image.pattern
    return one_step.passed


def eager_step() -> Passed:
    import tiny_models

    return skipped_step(tiny_models.flux1)


def compiled_step() -> Passed:
    import tiny_models

    return skipped_step(tiny_models.flux2)


# Runs in a process of its own, as the console script does: mflux_teacache.pth first, and then mflux's main.
_FOLLOWED = """
import json, runpy, sys
sys.path.insert(0, sys.argv[1])
from one_step import Begun, Passed, begins_in, following
begins_in(sys.modules["tiny_models"].CallbackRegistry)
sys.argv[:] = sys.argv[2:]
passed = Passed()
with following(passed):
    from mflux_teacache.cli.startup import start
    start()
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except Begun:
        print(json.dumps(passed.calls))
"""


class Begun(BaseException):
    """The denoising loop is about to begin."""


def begins_in(registry: type) -> None:
    """Raise ``Begun`` where a loop begins, from the first of mflux's callbacks."""
    init = registry.__init__

    def __init__(self: Any) -> None:
        init(self)
        self.before_loop.append(_Begins())

    registry.__init__ = __init__


class _Begins:
    def call_before_loop(self, **_: Any) -> None:
        sys.setprofile(None)
        raise Begun


def command_line(folder: Path) -> Passed:
    """A command of mflux's with a plugin, as far as the beginning of its denoising loop.

    Args:
        folder: an empty one.
    """
    name, *options = COMMAND
    done = subprocess.run(
        [sys.executable, "-c", _FOLLOWED, Path(__file__).parent, Path(sys.executable).parent / name, *options],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, (SUPPORT / "fake_weights", SUPPORT))),
            "FAKE_WEIGHTS_LOG": str(folder / "weights.log"),
            "HF_HUB_OFFLINE": "1",
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return Passed([Call(*call) for call in json.loads(done.stdout.splitlines()[-1])])


def main() -> None:
    sys.path.insert(0, str(SUPPORT))
    print("one skipped step, eager:", eager_step())
    print("one skipped step, compiled:", compiled_step())
    with tempfile.TemporaryDirectory() as folder:
        print("a command line up to the loop:", command_line(Path(folder)))


if __name__ == "__main__":
    main()
