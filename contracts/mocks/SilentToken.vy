# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
# pragma nonreentrancy on
"""
@title SilentToken
@license Apache-2.0
@notice A token whose transfers return nothing, as one large stablecoin does; it may take a fee.
@custom:security Test only: open mint, no allowance check.
"""

balanceOf: public(HashMap[address, uint256])
# share of a transfer that vanishes, for tokens that take a fee
fee_quote: public(uint256)
# transfers move nothing while set
is_refusing: public(bool)


@external
def mint(to: address, quote: uint256):
    """
    @notice Makes new tokens.
    @param to Who gets them.
    @param quote Base units.
    """
    self.balanceOf[to] += quote


@external
def set_refusing(is_refusing: bool):
    """
    @notice Switches transfers off or on.
    @param is_refusing Whether transfers move nothing.
    """
    self.is_refusing = is_refusing


@external
def set_fee(fee_quote: uint256):
    """
    @notice Sets what each transfer loses on the way.
    @param fee_quote Base units.
    """
    self.fee_quote = fee_quote


@external
def transfer(to: address, quote: uint256):
    """
    @notice Moves the caller's tokens, or does not.
    @param to Recipient.
    @param quote Base units.
    """
    if not self.is_refusing:
        self._move(msg.sender, to, quote)


@external
def transferFrom(owner: address, to: address, quote: uint256):
    """
    @notice Moves somebody's tokens, or does not.
    @param owner Whose.
    @param to Recipient.
    @param quote Base units.
    """
    if not self.is_refusing:
        self._move(owner, to, quote)


@internal
def _move(owner: address, to: address, quote: uint256):
    """
    @notice Moves tokens less the fee.
    @param owner Whose.
    @param to Recipient.
    @param quote Base units.
    """
    self.balanceOf[owner] -= quote
    self.balanceOf[to] += quote - self.fee_quote
