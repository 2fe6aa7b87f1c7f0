// SPDX-License-Identifier: Apache-2.0
// What the tests need of OpenZeppelin as contracts that can be deployed: nothing here but the names of its parts.
pragma solidity 0.8.37;

import {Account} from "@openzeppelin/contracts/account/Account.sol";
import {ERC7821} from "@openzeppelin/contracts/account/extensions/draft-ERC7821.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC3009} from "@openzeppelin/contracts/token/ERC20/extensions/draft-ERC3009.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {SignerEIP7702} from "@openzeppelin/contracts/utils/cryptography/signers/SignerEIP7702.sol";

/// A stablecoin somebody else wrote: permits and authorizations by their code.
contract SignedToken is ERC20, ERC20Permit, ERC3009 {
    constructor() ERC20("Signed Token", "SGN") ERC20Permit("Signed Token") {}

    function decimals() public pure override returns (uint8) {
        return 6;
    }

    function mint(address to, uint256 quote) external {
        _mint(to, quote);
    }
}

/// What an EIP-7702 account delegates to: batches of calls, made by the account itself alone.
contract DelegatedAccount is Account, SignerEIP7702, ERC7821 {}
