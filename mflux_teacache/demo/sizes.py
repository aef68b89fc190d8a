"""The sizes of the demo's model, for mflux's classes and for the trainer's copy of them in PyTorch. Pure."""

from __future__ import annotations

# Pixels along a side of the pictures that the model was trained on, and tokens along it.
SIDE = 192
GRID = SIDE // 16

# The codec: channels of a latent, an eighth of the picture's size, which mflux packs 2x2 into a token; how wide the
# convolutions are at an eighth, a quarter and half of the picture's size, and how many residual blocks follow there.
LATENT_CHANNELS = 32
TOKEN_CHANNELS = 4 * LATENT_CHANNELS
CODEC_WIDTHS = (128, 64, 32)
DECODER_BLOCKS = (3, 2, 2)
ENCODER_BLOCKS = (2, 1, 1)

# The transformer, 9.9 M parameters: a branch of a step takes 0.7 s on the CPU core that it was sized on.
WORD_WIDTH = 128
HEADS = 8
HEAD_WIDTH = 32
DOUBLE_BLOCKS = 2
SINGLE_BLOCKS = 6
# Rotary embedding: how much of a head is for frame, row, column and place in the text; its longest wave is of about 300
# tokens, for pictures of 12 along a side, where FLUX.2's is of 8000.
ROPE_AXES = (4, 12, 12, 4)
ROPE_BASE = 100
