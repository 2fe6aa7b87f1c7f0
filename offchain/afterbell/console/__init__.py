"""Commands for people at a terminal: status, account, keys. They use the public SDK like any program."""
