"""Doors for other people's code: the calling conventions of other graders and trainers, in front of our grader.

What a module here takes and gives back is fixed by its namesake; what is our own is said in its docstrings.
"""
