"""python -m fvflow."""

from fvflow.cli import main

if __name__ == "__main__":
    main()
