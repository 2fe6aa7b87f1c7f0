"""An owner that cannot sign, as a Safe cannot: it approves the operation's digest on chain, and the venue carries it.

Here the owner's own key plays the contract; a Safe sends `approval_calldata` to `approval_contract` in a transaction
of its signers, everything else is the same.

    python -m afterbell.sdk.examples.contract_wallet [URL]
"""

from __future__ import annotations

import sys

from afterbell.sdk import Client, KeyTerms, SessionKey, Transfer, generate_key


def act_as_contract_wallet(url: str) -> tuple[SessionKey, Transfer]:
    """Link a session key and withdraw, both approved by transactions; return the key and the withdrawal."""
    session = generate_key()
    with Client(url, key=generate_key().private_key) as wallet:
        wallet.faucet()
        wallet.deposit("100")

        linking = wallet.prepare_link_key(KeyTerms(key=session.address, max_notional="50"))
        print(f"approve {linking.digest}: send {linking.approval_calldata} to {linking.approval_contract}")
        wallet.approve_operation(linking)
        wallet.submit_operation(linking)
        key = wallet.wait_for_key(session.address)

        withdrawal = wallet.prepare_withdrawal("30")
        wallet.approve_operation(withdrawal)
        wallet.submit_operation(withdrawal)
        return key, wallet.wait_for_withdrawal(withdrawal.digest, status="mined", timeout_s=120)


if __name__ == "__main__":
    linked, moved = act_as_contract_wallet((sys.argv[1:] or ["http://127.0.0.1:8720"])[0])
    print(linked.status, moved.status, moved.transaction)
