"""What only a real chain shows: transactions of owners, the relayer, errors of the token in words."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from afterbell.sdk import (
    Client,
    KeyTerms,
    MoneyRefused,
    NotFinalInTime,
    PlacedOrder,
    SdkError,
    SignatureRefused,
    WalletFailed,
    generate_key,
)

pytestmark = pytest.mark.alone
USDC = 10**6
SYMBOL = "AAPL"
Quote = Callable[[], tuple[PlacedOrder, ...]]


def open_client(url: str) -> Client:
    client = Client(url, key=generate_key().private_key)
    client.faucet()
    return client


def test_deposit__each_way_with_a_key__credits_and_links_in_one_transaction(real_url: str) -> None:
    for method in ("approve", "permit", "authorization"):
        session = generate_key()
        with open_client(real_url) as client:
            terms = KeyTerms(key=session.address, max_notional="250", markets=(SYMBOL,), trade_only=False)
            transfer = client.deposit("100", method=method, link=terms)
            key = client.wait_for_key(session.address)

            assert (transfer.quote, transfer.account) == (100 * USDC, client.account_id)
            assert (key.max_notional_quote, key.markets, key.trade_only) == (250 * USDC, (1,), False)
            assert key.operation_id is None, "linked on chain, not by a batch"


def test_deposit__authorization__costs_the_sender_no_gas(real_url: str) -> None:
    """The wallet signs; the venue's relayer pays. Its own balance of gas does not move by a wei."""
    with open_client(real_url) as client:
        before = read_gas_wei(client)
        client.deposit("100", method="authorization")

        assert read_gas_wei(client) == before
        assert client.account().collateral_quote == 100 * USDC


def read_gas_wei(client: Client) -> str:
    async def ask() -> str:
        node = await client._inner._must_have_node()
        return str(await node.request("eth_getBalance", client.signer, "latest"))

    return client._run(ask())


def test_deposit__more_than_the_wallet_has__is_refused_in_words(real_url: str) -> None:
    with open_client(real_url) as client:
        with pytest.raises(WalletFailed):
            client.deposit("10000000", method="permit")
        with pytest.raises(MoneyRefused) as caught:
            client.deposit("10000000", method="authorization")

        assert caught.value.reason == "TOKEN_REFUSED" and caught.value.found and caught.value.action
        with pytest.raises(SdkError, match="account of the wallet that pays"):
            client.deposit(
                "1", owner=generate_key().address, link=KeyTerms(key=generate_key().address, max_notional="1")
            )


def test_keys_on_chain__linked_and_revoked__bind_the_engine(real_url: str) -> None:
    session = generate_key()
    with open_client(real_url) as owner:
        owner.deposit("1000", method="permit")
        transaction = owner.link_key_on_chain(KeyTerms(key=session.address, max_notional="500"))
        key = owner.wait_for_key(session.address)
        assert (key.transaction, key.operation_id) == (transaction, None)
        with Client(real_url, key=session.private_key, owner=owner.owner) as trader:
            market = trader.market(SYMBOL)
            assert market.rules is not None
            step = market.rules.price_step_ticks
            order = trader.limit(SYMBOL, "BUY", "0.5", market.mark_ticks * 98 // 100 // step * step)
        owner.revoke_key_on_chain(session.address)
        assert owner.wait_for_key(session.address, status="revoked").status == "revoked"

        ended = owner.order(order.order_id)
        assert (ended.status, ended.reason) == ("CANCELLED", "KEY_REVOKED")


def test_cancel_all_on_chain__resting_order__leaves_the_book(real_url: str) -> None:
    with open_client(real_url) as owner:
        owner.deposit("1000", method="permit")
        market = owner.market(SYMBOL)
        assert market.rules is not None
        step = market.rules.price_step_ticks
        order = owner.limit(SYMBOL, "BUY", "0.5", market.mark_ticks * 98 // 100 // step * step)
        # The chain's newest block may be older than the order: a batch or a deposit brings the next.
        owner.deposit("1")
        transaction = owner.cancel_all_on_chain()

        with pytest.raises(NotFinalInTime, match="without a fill"):
            owner.wait_for_order(order.order_id, timeout_s=30)
        assert (owner.order(order.order_id).status, len(transaction)) == ("CANCELLED", 66)


def test_claim__own_transaction_and_nothing_left__is_paid_once(real_url: str) -> None:
    with open_client(real_url) as client:
        client.deposit("100")
        in_wallet_quote = client.wallet_quote()
        transfer = client.withdraw("60")
        client.wait_for_withdrawal(transfer.transfer_id, status="mined")
        assert client.claimable_quote() == 60 * USDC
        client.claim()
        with pytest.raises(MoneyRefused) as caught:
            client.claim(relayed=True)

        assert client.wallet_quote() == in_wallet_quote + 60 * USDC
        assert caught.value.reason == "NOTHING_TO_CLAIM"
        assert client.wait_for_withdrawal(transfer.transfer_id, status="paid").paid_transaction


def test_operation__not_approved__says_so(real_url: str) -> None:
    with open_client(real_url) as client:
        client.deposit("100", method="permit")
        with pytest.raises(SignatureRefused) as caught:
            client.submit_operation(client.prepare_withdrawal("10"), timeout_s=0)

        assert caught.value.reason == "NOT_APPROVED" and "approve" in caught.value.required
