"""Run `python -m afterbell` as the `afterbell` command."""

from afterbell.cli import main

if __name__ == "__main__":
    main()
