"""Project events into SQL for people to read: orders, fills, batches, transfers, prices.

Nothing here is a source of truth: drop the database, replay the journal, and the same rows come back. Must not: decide
anything, be read by engine or settlement.

    Unavailable
    └── ReadModelUnavailable    the database did not answer
"""
