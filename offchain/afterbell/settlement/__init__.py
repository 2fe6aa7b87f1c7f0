"""Bring sealed batches to the chain and prove that chain and engine agree. Must not: decide anything about trading."""
