"""Ctrl-C at each line of attach, image and restore, and at random moments: all can be taken off, and no harm done."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest
from faults import FAMILIES, EverySecond, Subject
from interrupting import Interrupter, interrupted_at_random
from mflux.utils.exceptions import StopImageGenerationException

from mflux_teacache import attach, attached

STOPS = (KeyboardInterrupt, StopImageGenerationException)

# What is interrupted: something is done first, and then this.
Act = Callable[[Subject, Interrupter], None]


def _attach(subject: Subject, interrupter: Interrupter) -> None:
    with interrupter.tracing():
        attach(subject.model, EverySecond)


def _image(subject: Subject, interrupter: Interrupter) -> None:
    attach(subject.model, EverySecond)
    with interrupter.tracing():
        subject.image(num_inference_steps=2)


def _restore(subject: Subject, interrupter: Interrupter) -> None:
    handle = attach(subject.model, EverySecond)
    subject.image(num_inference_steps=2)
    with interrupter.tracing():
        handle.restore()


ACTS: dict[str, Act] = {"attach": _attach, "image": _image, "restore": _restore}


def _interrupt_at(line: int, act: Act, subject: Subject) -> None:
    interrupter = Interrupter(at=line)
    with pytest.raises(STOPS):
        act(subject, interrupter)
    assert interrupter.where is not None
    if (handle := attached(subject.model)) is not None:
        handle.restore()
    assert subject.is_untouched(), interrupter.where


def _lines(act: Act, subject: Subject) -> int:
    counter = Interrupter()
    act(subject, counter)
    if (handle := attached(subject.model)) is not None:
        handle.restore()
    return counter.count


def _interrupt(act: Act, subject: Subject, lines: range) -> None:
    for line in lines:
        _interrupt_at(line, act, subject)
        if line % 40 == 0:
            subject.verify()
    subject.verify()


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
@pytest.mark.parametrize("subject", FAMILIES, indirect=True)
def test_ctrl_c_at_some_lines(act: Act, subject: Subject) -> None:
    count = _lines(act, subject)
    some = range(1, count + 1, max(1, count // 12))
    _interrupt(act, subject, some)


@pytest.mark.exhaustive
@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
@pytest.mark.parametrize("subject", FAMILIES, indirect=True)
def test_ctrl_c_at_every_line(act: Act, subject: Subject) -> None:
    _interrupt(act, subject, range(1, _lines(act, subject) + 1))


# Python drops what is raised while it frees an object, such as tqdm's progress bar.
FREED = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def _random_moments(subject: Subject, count: int) -> None:
    chance = random.Random(subject.family)
    begun = time.perf_counter()
    with attach(subject.model, EverySecond):
        subject.image()
    took = time.perf_counter() - begun
    for place in range(count):
        try:
            with interrupted_at_random(within=1.2 * took, chance=chance):
                handle = attach(subject.model, EverySecond)
                subject.image()
                handle.restore()
        except STOPS:
            pass
        if (left := attached(subject.model)) is not None:
            left.restore()
        assert subject.is_untouched()
        if place % 40 == 0:
            subject.verify()
    subject.verify()


@FREED
@pytest.mark.parametrize("subject", FAMILIES, indirect=True)
def test_ctrl_c_at_a_few_random_moments(subject: Subject) -> None:
    _random_moments(subject, 20)


@pytest.mark.exhaustive
@FREED
@pytest.mark.parametrize("subject", FAMILIES, indirect=True)
def test_ctrl_c_at_a_thousand_random_moments(subject: Subject) -> None:
    _random_moments(subject, 1000)
