"""Trade with a session key: the owner's key signs once, a key that can only trade signs every order.

python -m afterbell.sdk.examples.session_key [URL] [SYMBOL]
"""

from __future__ import annotations

import sys

from afterbell.sdk import Client, KeyRefused, KeyTerms, PlacedOrder, SessionKey, generate_key


def trade_with_session_key(url: str, symbol: str) -> tuple[PlacedOrder, SessionKey]:
    """Deposit and link in one transaction, trade with the key alone, revoke it; return the order and the dead key."""
    owners, session = generate_key(), generate_key()
    with Client(url, key=owners.private_key) as owner:
        owner.faucet()
        # At most 1,000 USDC an order, this market, a week of venue time; it can never withdraw.
        terms = KeyTerms(key=session.address, max_notional="1000", markets=(symbol,), lifetime_s=7 * 86_400)
        owner.deposit("5000", method="permit", link=terms)
        owner.wait_for_key(session.address)

        # From here on another machine, which knows the session key and the owner's address alone.
        with Client(url, key=session.private_key, owner=owner.owner) as trader:
            market = trader.market(symbol)
            assert market.rules is not None
            step = market.rules.price_step_ticks
            order = trader.limit(symbol, "BUY", "0.5", market.mark_ticks * 99 // 100 // step * step)
            try:
                trader.withdraw("1")
            except KeyRefused as refusal:
                print(f"as it should be: {refusal.reason}")

        owner.revoke_key(session.address)  # Its orders leave the book at once.
        return owner.order(order.order_id), owner.wait_for_key(session.address, status="revoked")


if __name__ == "__main__":
    venue_url, market_symbol = (sys.argv[1:] + ["http://127.0.0.1:8720", "AAPL"][len(sys.argv) - 1 :])[:2]
    ended, key = trade_with_session_key(venue_url, market_symbol)
    print(ended.status, ended.reason, key.status)
