"""`python -m pyconquest_rules`."""

from pyconquest_rules.cli import main

if __name__ == "__main__":
    main()
