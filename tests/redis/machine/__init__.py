"""A state machine over the real scripts: what is called in which order is for hypothesis to choose.

`model` says what ought to lie where, `reading` what does, `acting` calls meshd as workers,
producers and supervisors do, and `rules` is the machine that compares the two after every step.
"""
