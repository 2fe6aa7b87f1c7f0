"""Deposits and claims, with tokens that pause, refuse, stay silent or take a fee."""

from __future__ import annotations

import pytest

from tests.contracts.desk import DEPOSIT_QUOTE, Desk
from tests.support.chain import DEPLOYER, OUTSIDER, ZERO_ADDRESS, Chain, Reverted

PAYER = OUTSIDER
ANYBODY = "0x" + "ab" * 20
RECIPIENT = b"\xaa" * 20
RECIPIENT_HEX = "0x" + RECIPIENT.hex()
OTHER = b"\xbb" * 20


def test_deposit__for_another_account__credited_and_numbered(desk: Desk) -> None:
    account = desk.account(desk.outsider, 7)

    assert desk.chain.deposit(account, 1_234, sender=PAYER) == 3

    event = next(e for e in desk.chain.events() if e.name == "CollateralDeposited").args
    assert event == {"account": account, "direct_op": 3, "sender": PAYER.lower(), "quote": 1_234}
    assert desk.chain.call("Clearinghouse", "account_word", account) == 1_234
    assert desk.chain.call("Vault", "tracked_quote") == 2 * DEPOSIT_QUOTE + 1_234
    assert desk.is_solvent()


def test_deposit__sum_or_owner_out_of_range__refused(desk: Desk) -> None:
    owner = "0x" + desk.maker.address.hex()
    for recipient, quote, reason in (
        (owner, 0, "deposit: zero"),
        (owner, 1 << 64, "deposit: too large"),
        (ZERO_ADDRESS, 1, "deposit: owner"),
    ):
        with pytest.raises(Reverted, match=reason):
            desk.chain.call("Vault", "deposit", recipient, 0, quote)


def test_deposit__without_approval__refused(desk: Desk) -> None:
    with pytest.raises(Reverted):
        desk.chain.call("Vault", "deposit", "0x" + desk.maker.address.hex(), 0, 1, sender=ANYBODY)


def test_deposit__token_takes_a_fee__inexact() -> None:
    chain = Chain.deploy(token="SilentToken")
    chain.call("token", "set_fee", 1)

    with pytest.raises(Reverted, match="deposit: inexact"):
        chain.deposit(7 << 80, 100)
    chain.call("token", "set_fee", 0)
    chain.deposit(7 << 80, 100)


def test_deposit__token_answers_false__refused() -> None:
    chain = Chain.deploy(token="RefusingToken")
    chain.call("token", "set_refusing", True)

    with pytest.raises(Reverted, match="token: refused"):
        chain.deposit(7 << 80, 100)


def test_deposit__silent_token_moves_nothing__inexact() -> None:
    chain = Chain.deploy(token="SilentToken")
    chain.call("token", "set_refusing", True)

    with pytest.raises(Reverted, match="deposit: inexact"):
        chain.deposit(7 << 80, 100)


def test_donation__straight_to_the_vault__changes_nothing(desk: Desk) -> None:
    before = desk.chain.call("Lens", "solvency")

    desk.chain.call("token", "mint", desk.chain.addresses["Vault"], 10**12)

    assert desk.chain.call("Lens", "solvency") == before
    desk.chain.deposit(desk.account(desk.maker), 1)
    assert desk.is_solvent()


def test_claim__two_recipients_one_blacklisted__blocks_that_one_alone(desk: Desk) -> None:
    desk.settle(operations=[desk.withdraw(desk.maker, 5, RECIPIENT), desk.withdraw(desk.maker, 6, OTHER)])
    desk.chain.call("token", "set_blacklisted", RECIPIENT_HEX, True, sender=DEPLOYER)

    with pytest.raises(Reverted, match="blacklisted"):
        desk.chain.call("Vault", "claim", RECIPIENT_HEX, sender=ANYBODY)
    assert desk.chain.call("Vault", "claim", "0x" + OTHER.hex(), sender=ANYBODY) == 6

    assert desk.chain.call("Vault", "claims_quote", RECIPIENT_HEX) == 5
    desk.chain.call("token", "set_blacklisted", RECIPIENT_HEX, False, sender=DEPLOYER)
    assert desk.chain.call("Vault", "claim", RECIPIENT_HEX, sender=ANYBODY) == 5
    assert desk.is_solvent()


def test_claim__token_paused__settlement_goes_on_and_claim_waits(desk: Desk) -> None:
    desk.chain.call("token", "set_paused", True, sender=DEPLOYER)
    assert desk.settle(operations=[desk.withdraw(desk.maker, 5, RECIPIENT)]).operations == [0]

    with pytest.raises(Reverted, match="paused"):
        desk.chain.call("Vault", "claim", RECIPIENT_HEX)
    desk.chain.call("token", "set_paused", False, sender=DEPLOYER)
    assert desk.chain.call("Vault", "claim", RECIPIENT_HEX) == 5


def test_claim__vault_blacklisted__waits(desk: Desk) -> None:
    desk.settle(operations=[desk.withdraw(desk.maker, 5, RECIPIENT)])
    desk.chain.call("token", "set_blacklisted", desk.chain.addresses["Vault"], True, sender=DEPLOYER)

    with pytest.raises(Reverted, match="blacklisted"):
        desk.chain.call("Vault", "claim", RECIPIENT_HEX)
    assert desk.chain.call("Vault", "total_claims_quote") == 5


def test_claim__twice_or_never__nothing(desk: Desk) -> None:
    desk.settle(operations=[desk.withdraw(desk.maker, 5, RECIPIENT)])
    desk.chain.call("Vault", "claim", RECIPIENT_HEX)

    for recipient in (RECIPIENT_HEX, ANYBODY):
        with pytest.raises(Reverted, match="claim: nothing"):
            desk.chain.call("Vault", "claim", recipient)


ROLES = [
    ("Vault", "add_claim", (ANYBODY, 1), "caller: not clearinghouse"),
    ("Clearinghouse", "credit_deposit", (7 << 80, ANYBODY, 1), "caller: not vault"),
    ("Clearinghouse", "list_market", (9,), "caller: not registry"),
    ("Clearinghouse", "set_market_rules", (1, 2, 0), "caller: not registry"),
    ("Clearinghouse", "set_sequencer", (ANYBODY,), "caller: not registry"),
    ("PriceOracle", "accept_reports", (b"\0", 0), "caller: not clearinghouse"),
    ("PriceOracle", "set_market", (1, 0, 100, 1, 1, 1), "caller: not registry"),
    ("PriceOracle", "set_source", (1, ANYBODY), "caller: not governor"),
    ("PriceOracle", "propose_governor", (ANYBODY,), "caller: not governor"),
    ("PriceOracle", "accept_governor", (), "caller: not pending governor"),
    ("MarketRegistry", "list_market", (9, "X", 4, 0, 1, [0] * 9), "caller: not governor"),
    ("MarketRegistry", "set_rules", (1, [(2, 0)]), "caller: not governor"),
    ("MarketRegistry", "set_sequencer", (ANYBODY,), "caller: not governor"),
    ("SignedPriceSource", "set_publishers", ([ANYBODY], 1), "caller: not governor"),
]


@pytest.mark.parametrize(("contract", "function", "args", "reason"), ROLES, ids=[f"{r[0]}.{r[1]}" for r in ROLES])
def test_role__outsider__refused(
    desk: Desk, contract: str, function: str, args: tuple[object, ...], reason: str
) -> None:
    with pytest.raises(Reverted, match=reason):
        desk.chain.call(contract, function, *args, sender=OUTSIDER)
