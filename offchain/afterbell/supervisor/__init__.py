"""The whole venue on one machine: processes started, watched and stopped in order. Must not: decide anything else.

Empty on purpose: publishers load from here too, and must not load what only `afterbell up` needs.
"""
