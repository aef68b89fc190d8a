"""The seam: where mflux's own forward is looked at, computed or reused, with no line of it copied.

``image`` has a denoising loop from its beginning to its end, with the transformer's body and its guidance branches;
``run`` what each block does while the forward runs as Python; ``compiled`` the same for predict functions, which mflux
may compile; ``compiled_blocks`` blocks that are compiled one by one.
"""
