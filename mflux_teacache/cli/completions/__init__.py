"""``mflux-teacache completions``: what a shell offers after TAB.

mflux's own ``mflux-completions`` writes those of its commands for zsh, with plugins and their options
(``cli/mflux/described.py``). Here are those of ``mflux-teacache``, and for bash and fish those of mflux's commands too.
"""
