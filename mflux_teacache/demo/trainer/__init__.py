"""How the demo's model and its calibration were made. It is in the repository and not in the wheel.

``python -m mflux_teacache.demo.trainer.train`` trains the weights (PyTorch, on a GPU), and
``python -m mflux_teacache.demo.trainer.fit`` records the calibration.
"""
