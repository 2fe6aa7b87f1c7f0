"""`afterbell verify`: recompute every balance, position and total from chain data and compare.

Exit codes: 0 everything agrees; 1 something does not, and it is named; 2 verification could not begin or be completed.
Must not: need anything of the venue but an RPC address and the manifest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click
from rich.console import Console

from afterbell.verify.compare import Comparison
from afterbell.verify.findings import Findings
from afterbell.verify.fold import fold_events
from afterbell.verify.history import fetch_history
from afterbell.verify.instance import UnusableInput, choose_block, read_instance
from afterbell.verify.progress import Steps, show_progress
from afterbell.verify.replay import replay_history
from afterbell.verify.report import Report, print_report, write_report
from afterbell.verify.rpc import RpcClient, RpcFailed
from afterbell.verify.storage import StorageReader

EXIT_DIFFERENCE: Final = 1
EXIT_UNUSABLE: Final = 2


def verify_instance(url: str, manifest_path: Path, to_block: int | None, steps: Steps) -> Report:
    """Fetch, replay, fold, compare; return the report. Raises: UnusableInput, RpcFailed."""
    instance = read_instance(manifest_path)
    findings = Findings()
    with RpcClient(url) as client:
        block = choose_block(client, instance, to_block)
        history = fetch_history(client, instance, block, steps, findings)
        replay = replay_history(history, instance, findings, steps)
        ledger = fold_events(history.events, findings)
        reader = StorageReader(client, block, steps)
        comparison = Comparison(reader, instance, replay, ledger, findings)
        comparison.compare_all()
    return Report(
        instance=instance,
        url=url,
        block=block,
        block_hash=history.header.hash,
        n_batches=replay.n_batches,
        n_accounts=len(ledger.accounts()),
        deposited_quote=ledger.vault_deposited_quote,
        withdrawn_quote=ledger.withdrawn_quote,
        tracked_quote=ledger.tracked_quote,
        replay_stopped_at=replay.stopped_at,
        governors={contract: governor for contract, (governor, _) in sorted(ledger.governors.items())},
        findings=findings,
    )


@click.command()
@click.option("--rpc", "url", required=True, metavar="URL", help="JSON-RPC address of a node, http or https.")
@click.option(
    "--manifest",
    "manifest_path",
    required=True,
    type=click.Path(path_type=Path),
    help="The manifest.json that the deployment wrote.",
)
@click.option(
    "--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write the whole report here."
)
@click.option("--to-block", type=click.IntRange(min=0), help="Verify at this block instead of the latest.")
def verify(url: str, manifest_path: Path, json_path: Path | None, to_block: int | None) -> None:
    """Recompute every balance, position and total from chain data and compare.

    Reads logs, calldata and storage of one instance from a node and trusts none of them alone: batches run again
    through the executable specification, events are added up, and both must equal what the contracts store.

    Exit code 0: all agree. 1: something differs and is named. 2: unusable input.
    """
    console = Console(width=None if Console().is_terminal else 160)
    try:
        with show_progress() as steps:
            report = verify_instance(url, manifest_path, to_block, steps)
    except (UnusableInput, RpcFailed) as error:
        click.echo(f"cannot verify: {error}", err=True)
        raise SystemExit(EXIT_UNUSABLE) from error
    print_report(report, console)
    if json_path is not None:
        write_report(report, json_path)
    if not report.is_verified:
        raise SystemExit(EXIT_DIFFERENCE)
