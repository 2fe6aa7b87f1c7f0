"""The verifier: recompute an instance from an RPC address and its manifest; it shares only the rules with the venue.

instance.py   which contracts, on which chain            chain_events.py, layout.py   events and words, read anew
rpc.py        the node, every answer checked             history.py                   everything fetched, in chain order
replay.py     first path: calldata through the model     fold.py                      second path: events added up
direct_operations.py  deposits and what owners did on chain, by the same rules
compare.py    both against storage, and the sums         compare_direct.py            keys, rules, approvals
witnesses.py  which of the three stands alone            report.py, command.py        what people and machines see
"""

from afterbell.verify.command import verify

__all__ = ["verify"]
