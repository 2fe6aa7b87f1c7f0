"""Build, sign and check the EIP-712 messages of Afterbell: one source for gateway, SDK, tests and contract vectors."""
