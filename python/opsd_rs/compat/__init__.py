"""Compatibility with other graders and trainers: their calling conventions, in front of our grader.

What a module here takes and gives back is fixed by its namesake; what is our own is said in its docstrings.
"""
