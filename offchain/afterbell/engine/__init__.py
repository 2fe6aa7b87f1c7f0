"""The deterministic state machine: books, matching, risk, batches. Synchronous, single writer, no clock, no I/O.

`apply.apply` is the one way in; `queries` the way to look; `book_view` folds its events for streams.
"""
