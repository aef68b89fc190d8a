"""How the demo's model and its calibration were made. It is in the repository and not in the wheel.

With PyTorch, on one GPU or several, in the order of these modules (``python -m mflux_teacache.demo.trainer.emoji``):

* ``emoji`` fetches the pictures of the objects.
* ``train_codec`` trains the codec, and ``detector`` what finds objects in pictures.
* ``train`` trains the transformer and writes the weights that ship; ``judge`` draws with them, and measures.

The weights that ship are of one machine with four H200 GPUs: 1.7 minutes of ``train_codec`` on three of them and of
``detector`` on the fourth, then 9.2 minutes of ``train`` on all: 44,220 steps of 768 scenes, held-out loss 0.303.
``judge``: 100% of the named objects found, all of them at their place; codec 35.2 dB, the worst scene 30.5 dB.
``fit`` records the calibration, with MLX.
"""
