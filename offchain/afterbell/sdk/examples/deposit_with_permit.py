"""Deposit in the three ways the vault takes, and for somebody else; each returns once the venue has credited it.

python -m afterbell.sdk.examples.deposit_with_permit [URL]
"""

from __future__ import annotations

import sys

from afterbell.sdk import Client, Transfer, generate_key


def deposit_with_permit(url: str) -> list[Transfer]:
    """Return the credited deposits: permit, authorization without gas, approval, and one into another account."""
    friend = generate_key()
    with Client(url, key=generate_key().private_key) as client:
        client.faucet()
        return [
            client.deposit("100", method="permit"),  # one transaction: the approval is signed inside
            client.deposit("100", method="authorization"),  # none of ours: the venue's relayer carries what we signed
            client.deposit("100"),  # approve once, then one transaction a deposit
            client.deposit("100", owner=friend.address),  # their money from now on
        ]


if __name__ == "__main__":
    for transfer in deposit_with_permit((sys.argv[1:] or ["http://127.0.0.1:8720"])[0]):
        print(transfer.quote, "quote units", transfer.status, "in", transfer.transaction)
