"""`python -m byoc_vision`: the command `byoc`."""

from byoc_vision.cli import main

if __name__ == "__main__":
    main()
