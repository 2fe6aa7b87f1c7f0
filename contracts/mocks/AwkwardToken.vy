# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
# pragma nonreentrancy off
"""
@title AwkwardToken
@license AGPL-3.0-only
@notice A token that misbehaves as it is told: answers nothing, false or anything else, keeps a fee, moves nothing without a
        word, or calls somebody back in the middle of a transfer.
@dev No lock of its own: what stops a callback must be the contract it calls.
@custom:security Test only: open mint, no signature is checked.
"""

balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])
# what transfer and transferFrom return; nothing at the start, as one large stablecoin does
answer: public(Bytes[32])
# part of a transfer that never arrives
fee_quote: public(uint256)
# nothing moves, is approved or called back while set; the answer is given all the same
is_idle: public(bool)
# called once, by the next transfer, permit or authorization
callback_to: address
callback_data: Bytes[1_024]
n_callbacks: public(uint256)
n_callbacks_succeeded: public(uint256)


@external
def set_answer(answer: Bytes[32]):
    """
    @notice Sets what transfers return.
    @param answer A word, or nothing.
    """
    self.answer = answer


@external
def set_fee(fee_quote: uint256):
    """
    @notice Sets what each transfer loses on the way.
    @param fee_quote Base units.
    """
    self.fee_quote = fee_quote


@external
def set_idle(is_idle: bool):
    """
    @notice Makes every function do nothing, or work again.
    @param is_idle Whether to do nothing.
    """
    self.is_idle = is_idle


@external
def set_callback(to: address, calldata: Bytes[1_024]):
    """
    @notice Arms one callback.
    @param to Whom to call.
    @param calldata With what.
    """
    self.callback_to = to
    self.callback_data = calldata


@external
def call_back():
    """
    @notice Makes the armed callback now, with no transfer around it.
    """
    self._call_back()


@external
def mint(to: address, quote: uint256):
    """
    @notice Makes new tokens.
    @param to Who gets them.
    @param quote Base units.
    """
    self.balanceOf[to] += quote


@external
def approve(spender: address, quote: uint256):
    """
    @notice Lets another address move the caller's tokens.
    @param spender Who may.
    @param quote Up to how many.
    """
    self.allowance[msg.sender][spender] = quote


@external
def approve_own(spender: address, quote: uint256):
    """
    @notice Lets another address move this contract's own tokens, so that a callback may deposit.
    @param spender Who may.
    @param quote Up to how many.
    """
    self.allowance[self][spender] = quote


@external
@raw_return
def transfer(to: address, quote: uint256) -> Bytes[32]:
    """
    @notice Moves the caller's tokens, as far as it pleases.
    @param to Recipient.
    @param quote Base units.
    @return The answer that was set.
    """
    self._move(msg.sender, to, quote)
    return self.answer


@external
@raw_return
def transferFrom(owner: address, to: address, quote: uint256) -> Bytes[32]:
    """
    @notice Moves somebody's tokens, as far as it pleases.
    @param owner Whose.
    @param to Recipient.
    @param quote Base units.
    @return The answer that was set.
    """
    if not self.is_idle:
        self.allowance[owner][msg.sender] -= quote
    self._move(owner, to, quote)
    return self.answer


@external
def permit(owner: address, spender: address, quote: uint256, deadline: uint256, v: uint8, r: bytes32, s: bytes32):
    """
    @notice Approves without a look at the signature.
    @param owner Whose tokens.
    @param spender Who may move them.
    @param quote Up to how many.
    @param deadline Ignored.
    @param v Ignored.
    @param r Ignored.
    @param s Ignored.
    """
    if self.is_idle:
        return
    self.allowance[owner][spender] = quote
    self._call_back()


@external
def receiveWithAuthorization(
    sender: address,
    to: address,
    quote: uint256,
    valid_after: uint256,
    valid_before: uint256,
    nonce: bytes32,
    v: uint8,
    r: bytes32,
    s: bytes32,
):
    """
    @notice Moves tokens without a look at the signature.
    @param sender Whose.
    @param to Recipient.
    @param quote Base units.
    @param valid_after Ignored.
    @param valid_before Ignored.
    @param nonce Ignored.
    @param v Ignored.
    @param r Ignored.
    @param s Ignored.
    """
    self._move(sender, to, quote)


@internal
def _move(owner: address, to: address, quote: uint256):
    """
    @notice Moves tokens less the fee, then calls back.
    @param owner Whose.
    @param to Recipient.
    @param quote Base units.
    """
    if self.is_idle:
        return
    self.balanceOf[owner] -= quote
    self.balanceOf[to] += quote - self.fee_quote
    self._call_back()


@internal
def _call_back():
    """
    @notice Makes the armed callback, once, and counts whether it succeeded.
    """
    to: address = self.callback_to
    if to == empty(address):
        return
    self.callback_to = empty(address)
    self.n_callbacks += 1
    if raw_call(to, self.callback_data, revert_on_failure=False):
        self.n_callbacks_succeeded += 1
