"""Withdraw: signed off chain, carried by a batch, paid out by the vault; wait for each step.

python -m afterbell.sdk.examples.withdraw [URL]
"""

from __future__ import annotations

import sys

from afterbell.sdk import Client, Transfer, generate_key


def withdraw(url: str, usdc: str = "40") -> Transfer:
    """Return the withdrawal once it is paid."""
    with Client(url, key=generate_key().private_key) as client:
        client.faucet()
        client.deposit("100", method="permit")
        transfer = client.withdraw(usdc)  # signed; from here on the venue cannot refuse it
        for status in ("mined", "claimable"):
            transfer = client.wait_for_withdrawal(transfer.transfer_id, status=status, timeout_s=120)
            print(status, transfer.transaction)
        client.claim(relayed=True)  # the venue pays the gas; client.claim() sends a transaction of our own
        return client.wait_for_withdrawal(transfer.transfer_id, status="paid", timeout_s=120)


if __name__ == "__main__":
    paid = withdraw((sys.argv[1:] or ["http://127.0.0.1:8720"])[0])
    for step in paid.steps:
        print(step.status, step.transaction or "")
