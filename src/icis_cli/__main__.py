"""``python -m icis_cli`` is the command ``icis``."""

from icis_cli.cli.main import main

if __name__ == "__main__":
    main()
