"""AsyncClient: everything a program does with the venue, on asyncio. Twin: sync.py.

    async with AsyncClient("http://127.0.0.1:8720", key="0x…") as client:
        await client.faucet()
        await client.deposit("1000")                                     # 1,000 USDC
        order = await client.place("AAPL", "BUY", "1.5", "45.10", time_in_force="IOC")
        done = await client.wait_for_order(order.order_id, status="final")
        print(done.fills)

Its parts, by subject: core.py (venue, clock, keys), orders.py, account.py (reads), operations.py (withdrawals, session
keys), money.py (deposits, claims), streams.py. examples/ has whole programs.
"""

from __future__ import annotations

from afterbell.sdk.streams import StreamCalls


class AsyncClient(StreamCalls):
    """A client of one venue, for one account if it has a key.

    Use it from one event loop; share it between tasks freely. Two processes with one key must trade on two subaccounts:
    lanes are handed out per process.
    """
