"""Keepers: small loops that feed the venue. Prices and replay so far.

Must not: import gateway, sequencer, settlement or indexer; they meet through ports and HTTP.
"""
