"""Hold the pure values and rules of Afterbell: the executable specification of contracts/README.md.

Its one job: say, in plain integers, what the contracts do. It does no I/O, reads no clock, uses no float, and imports
nothing of afterbell outside this package. Twin: contracts/ (Vyper); tests/parity holds the two equal.
"""
