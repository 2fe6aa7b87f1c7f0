"""Whole programs on the SDK, each to be read top to bottom and run as it is: `python -m afterbell.sdk.examples.NAME`.

On a local chain every one of them makes its own wallet from the faucet. tests/sdk/test_examples.py runs them all
against a real venue. Must not: use anything but the public SDK.
"""
