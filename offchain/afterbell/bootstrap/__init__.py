"""Compose the exchange: the only package that knows all parts. It decides nothing about trading."""
