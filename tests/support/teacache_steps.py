"""TeaCache's hooks, with steps whose signals are scripted: change and residual of each can be worked out by eye."""

import math
from dataclasses import replace

import numpy as np
from scripted import DEV, generation

from mflux_teacache.options import from_keywords
from mflux_teacache.plugins import Loaded
from mflux_teacache.records import Body, BodyBranch, Step, Target
from mflux_teacache.teacache.plugin import TeaCache

PLUGIN = Loaded("teacache", TeaCache)

FILL = Target(pipeline="Flux1Fill", model="black-forest-labs/FLUX.1-Fill-dev")
KONTEXT = Target(pipeline="Flux1Kontext", model="black-forest-labs/FLUX.1-Kontext-dev")
KLEIN = Target(pipeline="Flux2Klein", model="black-forest-labs/FLUX.2-klein-4B")
UNKNOWN = Target(pipeline="ErnieImage", model="baidu/ERNIE-Image")
LENS = Target(pipeline="LensImage", model="Comfy-Org/Lens", distilled=True)

# The change itself is the prediction.
IDENTITY = {"coefficients": [1.0, 0.0]}


class Script:
    """Signals of one step: what is read and compared is noted."""

    def __init__(self, signal, log):
        self.signal, self.log = np.asarray(signal, np.float32), log

    def modulated_input(self):
        self.log.append("modulated_input")
        return self.signal

    def first_block_residual(self):
        self.log.append("first_block_residual")
        return self.signal

    def latents(self):
        raise AssertionError("TeaCache has no use for the latents")

    def sigma(self):
        return None

    def relative_l1(self, now, earlier):
        self.log.append("relative_l1")
        if now.shape != earlier.shape:
            return math.nan
        return float(np.abs(now - earlier).mean() / np.abs(earlier).mean())


def options(**keywords):
    return from_keywords(PLUGIN, keywords)


def attached(target=DEV, **keywords):
    plugin = TeaCache()
    plugin.mflux_attach(options(**keywords), target)
    return plugin


def check(target, steps=None, **keywords):
    TeaCache().mflux_check(options(**keywords), replace(target, active_steps=steps))


def level(value, rows=4):
    """A signal that is ``value`` everywhere: from 1.0 to 1.25 it changes by 0.25."""
    return np.full((1, rows, 2), value)


def run(plugin, signals, branches=1, refusing=(), target_rows=None):
    """All steps of one image. Residuals are numbers: step i's branch b computes ``10 * i + b``.

    ``refusing`` are (step, branch) whose residual does not fit, so that the branch computes after all.
    Returns decisions, the residuals that each step ended with, and the log of what was read.
    """
    image, log, decisions, residuals = generation(len(signals), target_rows=target_rows), [], [], []
    plugin.mflux_generation_start(image)
    for index, signal in enumerate(signals):
        step = Step(index, image, branches if index else None, Script(signal, log))
        decision = plugin.mflux_pre_transformer(step)
        body = Body(tuple(branch(decision, index, place, refusing) for place in range(branches)))
        plugin.mflux_post_transformer(step, body)
        decisions.append(decision)
        residuals.append([int(residual[0]) for residual in body.residuals])
    plugin.mflux_generation_end()
    return decisions, residuals, log


def branch(decision, index, place, refusing):
    reused = decision.residuals is not None and (index, place) not in refusing
    residual = decision.residuals[place] if reused else np.array([10 * index + place])
    return BodyBranch(input=None, output=None, residual=residual, reused=reused)


def pattern(decisions):
    return "".join("C" if decision.residuals is None else "S" for decision in decisions)


# Changes: 0.25, 0.2, 0.333, 0.25, 0
LEVELS = [level(value) for value in (1.0, 1.25, 1.5, 2.0, 2.5, 2.5)]
