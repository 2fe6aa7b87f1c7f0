# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
# pragma nonreentrancy on
"""
@title Timelock
@license AGPL-3.0-only
@notice The governor of MarketRegistry, PriceOracle, CorporateActions and the price sources: a call is scheduled by a proposer,
        can be seen for the whole delay, cancelled by the guardian meanwhile, and made by an executor afterwards.
@dev snekmate's timelock_controller with less: no batches (every governed function takes a whole change), no change of the delay
     (a longer one is a new Timelock, or the `delay` of a call), no receiving of tokens or ether outside `execute`. Proposers
     cannot cancel: one stolen proposer key must not be able to stop the others. Roles change by scheduled calls to itself.
@custom:security Nobody is admin but the contract itself. A guardian can stop every change for good, its own replacement too;
                 it can make none.
@custom:invariants get_minimum_delay is what the constructor was given: at least 14 days and longer than the exit ladder.
@custom:kill The guardian cancels what is queued.
"""

from snekmate.auth import access_control
from snekmate.governance import timelock_controller

from interfaces import IGoverned
from modules import errors

initializes: access_control
initializes: timelock_controller[access_control := access_control]

# proposer, executor, guardian
exports: (timelock_controller.schedule, timelock_controller.execute, timelock_controller.cancel)
# roles
exports: (
    timelock_controller.grantRole,
    timelock_controller.revokeRole,
    timelock_controller.renounceRole,
    timelock_controller.hasRole,
    timelock_controller.getRoleAdmin,
    timelock_controller.DEFAULT_ADMIN_ROLE,
    timelock_controller.PROPOSER_ROLE,
    timelock_controller.EXECUTOR_ROLE,
    timelock_controller.CANCELLER_ROLE,
)
# views
exports: (
    timelock_controller.get_minimum_delay,
    timelock_controller.get_timestamp,
    timelock_controller.get_operation_state,
    timelock_controller.hash_operation,
)

MAX_ACCOUNTS: constant(uint256) = 16
# the least anybody may see of a change before it is made
MIN_DELAY_S: constant(uint256) = 14 * 86_400
# a request, forced from 6 h on, overdue 24 h later, final settlement after 7 days of exit mode (Exits.vy): who does not like a
# change is out before it is made, even against a sequencer that helps nobody
EXIT_LADDER_S: constant(uint256) = (6 + 24) * 3_600 + 7 * 86_400


@deploy
def __init__(
    min_delay_s: uint256,
    proposers: DynArray[address, MAX_ACCOUNTS],
    executors: DynArray[address, MAX_ACCOUNTS],
    guardian: address,
):
    """
    @notice Names who may schedule, make and cancel calls.
    @param min_delay_s Seconds between scheduling and executing, at least 14 days.
    @param proposers Who schedules, at least one, none zero.
    @param executors Who executes, at least one, none zero.
    @param guardian Who cancels.
    """
    assert min_delay_s >= MIN_DELAY_S and min_delay_s > EXIT_LADDER_S, errors.TIMELOCK_DELAY
    assert guardian != empty(address), errors.NO_ADDRESS
    assert len(proposers) > 0 and len(executors) > 0, errors.NO_ADDRESS
    assert empty(address) not in proposers and empty(address) not in executors, errors.NO_ADDRESS
    access_control.__init__()
    timelock_controller.__init__(min_delay_s, proposers, executors, empty(address))
    for proposer: address in proposers:
        access_control._revoke_role(timelock_controller.CANCELLER_ROLE, proposer)
    access_control._grant_role(timelock_controller.CANCELLER_ROLE, guardian)


@external
def accept(target: address):
    """
    @notice Takes the governorship of a contract that was offered to this one. Anybody may call it: it cannot take anything else.
    @dev Passes where it governs already: whoever calls it before a deployment does must not make the deployment fail.
    @param target A contract that this one governs, or whose pending governor it is.
    """
    if staticcall IGoverned(target).governor() != self:
        extcall IGoverned(target).accept_governor()
