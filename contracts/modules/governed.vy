# pragma version 0.4.3
# pragma nonreentrancy on
"""
@title governed
@license AGPL-3.0-only
@notice One governor (a timelock in production), replaced in two steps so that a wrong address cannot take it.
"""

from . import errors


event GovernorProposed:
    pending_governor: indexed(address)


event GovernorChanged:
    governor: indexed(address)


# who may change parameters; written by accept_governor
governor: public(address)
# who may become governor; written by propose_governor
pending_governor: public(address)


@deploy
def __init__(governor: address):
    """
    @notice Sets the first governor.
    @param governor Not zero.
    """
    assert governor != empty(address), errors.NO_ADDRESS
    self.governor = governor
    log GovernorChanged(governor=governor)


@external
def propose_governor(pending_governor: address):
    """
    @notice Names a successor, who must accept. Zero withdraws the proposal.
    @param pending_governor The successor.
    """
    self._check_governor()
    self.pending_governor = pending_governor
    log GovernorProposed(pending_governor=pending_governor)


@external
def accept_governor():
    """
    @notice Makes the caller governor, if proposed.
    """
    assert msg.sender == self.pending_governor, errors.NOT_PENDING_GOVERNOR
    self.governor = msg.sender
    self.pending_governor = empty(address)
    log GovernorChanged(governor=msg.sender)


@internal
@view
def _check_governor():
    """
    @notice Reverts unless the caller is the governor.
    """
    assert msg.sender == self.governor, errors.NOT_GOVERNOR
