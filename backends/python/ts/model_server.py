"""`python -m ts.model_server …` is the `torchserve` command."""
import os
import shutil
import sys


def load_properties(file_path):
    """The keys and values of a properties file; the last of two equal keys wins."""
    properties = {}
    with open(file_path, encoding="utf-8") as file:
        for line in file:
            line = line.strip()
            if line and not line.startswith(("#", "!")):
                key, _, value = line.partition("=")
                properties[key.strip()] = value.strip()
    return properties


def start():
    """Becomes the `torchserve` command, with this process' arguments."""
    program = shutil.which("torchserve")
    if program is None:
        sys.exit("torchserve: the command is not on PATH")
    os.execv(program, [program] + sys.argv[1:])


if __name__ == "__main__":
    start()
