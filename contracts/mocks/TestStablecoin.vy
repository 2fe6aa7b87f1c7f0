# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
# pragma nonreentrancy on
"""
@title TestStablecoin
@license Apache-2.0
@notice A stablecoin for local chains with the behaviour real ones have: 6 decimals, pause, and a blacklist that bites sender
        and recipient. Anyone may mint.
@custom:security Test only: open mint.
"""

from ethereum.ercs import IERC20

implements: IERC20

name: public(constant(String[13])) = "Test USD Coin"
symbol: public(constant(String[5])) = "tUSDC"
decimals: public(constant(uint8)) = 6

# who may pause and blacklist
admin: public(address)
# stops every transfer
is_paused: public(bool)
# may neither send nor receive
is_blacklisted: public(HashMap[address, bool])
totalSupply: public(uint256)
balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])


@deploy
def __init__():
    """
    @notice Makes the deployer admin.
    """
    self.admin = msg.sender


@external
def mint(to: address, quote: uint256):
    """
    @notice Makes new tokens, as many as anyone likes.
    @param to Who gets them.
    @param quote Base units, 1e-6.
    """
    self.totalSupply += quote
    self.balanceOf[to] += quote
    log IERC20.Transfer(sender=empty(address), receiver=to, value=quote)


@external
def set_paused(is_paused: bool):
    """
    @notice Stops or resumes transfers.
    @param is_paused Whether to stop.
    """
    assert msg.sender == self.admin, "test token: not admin"
    self.is_paused = is_paused


@external
def set_blacklisted(account: address, is_blacklisted: bool):
    """
    @notice Puts an address on the blacklist or takes it off.
    @param account The address.
    @param is_blacklisted Whether it is on.
    """
    assert msg.sender == self.admin, "test token: not admin"
    self.is_blacklisted[account] = is_blacklisted


@external
def approve(spender: address, quote: uint256) -> bool:
    """
    @notice Lets another address move the caller's tokens.
    @param spender Who may.
    @param quote Up to how many.
    @return True.
    """
    self.allowance[msg.sender][spender] = quote
    log IERC20.Approval(owner=msg.sender, spender=spender, value=quote)
    return True


@external
def transfer(to: address, quote: uint256) -> bool:
    """
    @notice Moves the caller's tokens.
    @param to Recipient.
    @param quote Base units.
    @return True.
    """
    self._move(msg.sender, to, quote)
    return True


@external
def transferFrom(owner: address, to: address, quote: uint256) -> bool:
    """
    @notice Moves approved tokens of another address.
    @param owner Whose.
    @param to Recipient.
    @param quote Base units.
    @return True.
    """
    assert not self.is_blacklisted[msg.sender], "test token: blacklisted"
    if self.allowance[owner][msg.sender] != max_value(uint256):
        self.allowance[owner][msg.sender] -= quote
    self._move(owner, to, quote)
    return True


@internal
def _move(owner: address, to: address, quote: uint256):
    """
    @notice Moves tokens unless paused or blacklisted.
    @param owner Whose.
    @param to Recipient, neither zero nor this contract.
    @param quote Base units.
    """
    assert not self.is_paused, "test token: paused"
    assert not self.is_blacklisted[owner] and not self.is_blacklisted[to], "test token: blacklisted"
    assert to != empty(address) and to != self, "test token: recipient"
    self.balanceOf[owner] -= quote
    self.balanceOf[to] += quote
    log IERC20.Transfer(sender=owner, receiver=to, value=quote)
