"""Puts the package under test first on the path: the one in the sources, or SCONCE_PYTHON_HOME's."""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
HOME = os.environ.get("SCONCE_PYTHON_HOME") or os.path.join(HERE, os.pardir, os.pardir, "backends", "python")
sys.path[:0] = [os.path.abspath(HOME), HERE]
