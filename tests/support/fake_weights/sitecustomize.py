"""Found by Python at its start through PYTHONPATH: mflux's real commands on tiny random models.

Replaced are weights, tokenizers and prompt encoding (by ``tiny_models``), and what differs from run to run in
the metadata; nothing else. Each pipeline that is built is noted in the file ``FAKE_WEIGHTS_LOG``.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import mlx.core as mx
import tiny_models
from mflux.models.common.config.model_config import ModelConfig
from mflux.models.flux.flux_initializer import FluxInitializer
from mflux.models.flux2.flux2_initializer import Flux2Initializer
from mflux.utils.generated_image import GeneratedImage

ModelConfig.precision = mx.float32
FOR_THE_PROCESS = ExitStack()
FOR_THE_PROCESS.enter_context(tiny_models.narrow())


def fake_init(make):
    def init(model, model_config, **_):
        with Path(os.environ["FAKE_WEIGHTS_LOG"]).open("a") as log:
            print(type(model).__name__, file=log)
        tiny = make(type(model), model_config)
        dict.update(model, tiny)  # an MLX module keeps its arrays and modules as items, the rest as attributes
        vars(model).update(vars(tiny))

    return staticmethod(init)


def frozen_metadata(get_metadata):
    def _get_metadata(image):
        return {**get_metadata(image), "created_at": "2030-01-01T00:00:00", "generation_time_seconds": 0.0}

    return _get_metadata


FluxInitializer.init = fake_init(tiny_models.flux1)
Flux2Initializer.init = fake_init(tiny_models.flux2)
GeneratedImage._get_metadata = frozen_metadata(GeneratedImage._get_metadata)
