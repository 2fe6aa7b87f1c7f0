// SPDX-License-Identifier: Apache-2.0
// What the tests need of others' libraries as contracts that can be deployed: hardly more than the names of their parts.
pragma solidity 0.8.37;

import {MockV3Aggregator} from "@chainlink/contracts/src/v0.8/tests/MockV3Aggregator.sol";
import {MockPyth} from "@pythnetwork/pyth-sdk-solidity/MockPyth.sol";
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

/// Chainlink's and Pyth's own stand-ins for their feeds.
contract Aggregator is MockV3Aggregator {
    constructor(uint8 decimals, int256 answer) MockV3Aggregator(decimals, answer) {}
}

contract Pyth is MockPyth {
    constructor(uint256 validTimePeriod, uint256 singleUpdateFeeInWei) MockPyth(validTimePeriod, singleUpdateFeeInWei) {}
}

/// Verifies Data Streams payloads as the verifier proxy takes them, by one signer: context, report data, signatures, and
/// one signature over keccak(keccak(report data) ++ context). Chainlink's own is written for a compiler we do not have.
contract VerifierProxy {
    address private immutable SIGNER;
    bytes public lastParameters;

    constructor(address signer) {
        SIGNER = signer;
    }

    function verify(bytes calldata payload, bytes calldata parameters) external payable returns (bytes memory) {
        (bytes32[3] memory context, bytes memory data, bytes32[] memory rs, bytes32[] memory ss, bytes32 rawVs) =
            abi.decode(payload, (bytes32[3], bytes, bytes32[], bytes32[], bytes32));
        bytes32 digest = keccak256(abi.encodePacked(keccak256(data), context));
        require(rs.length == 1 && ecrecover(digest, uint8(rawVs[0]) + 27, rs[0], ss[0]) == SIGNER, "bad verification");
        lastParameters = parameters;
        return data;
    }
}
