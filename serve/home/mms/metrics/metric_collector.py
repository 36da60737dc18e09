"""What multi-model-server asks for the machine's load, at its start and then once a day: nobody reads the answer."""

import sys

if __name__ == "__main__":
    sys.stdin.read()  # it writes what its workers are, and would say so where nobody took it
