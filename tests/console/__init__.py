"""The command line: configuration, status, account and keys."""
