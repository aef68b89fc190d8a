"""What our own measurements were made with: full-size models with random weights, and another package beside ours.

It is in the repository and not in the wheel: ``needs.laboratory`` says so where an option asks for it.
"""
