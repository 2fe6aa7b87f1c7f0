"""Afterbell: perpetual futures on single stocks, matched off chain and settled on chain."""
