"""Follow the chain: deposits in, claims paid, finality of batches. Must not: submit transactions."""
