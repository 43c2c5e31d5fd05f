"""What every envelope does: changes the form of the rows before the handler sees them, and of its results after."""
import copy
from abc import ABC, abstractmethod


class BaseEnvelope(ABC):
    """`handle_fn(data, context)` is the handler's entry point."""

    def __init__(self, handle_fn):
        self._handle_fn = handle_fn
        self.context = None

    def handle(self, data, context):
        """Stands in the handler's place. Empty data and empty results are left alone."""
        self.context = context
        if data:
            data = self.parse_input(data)
        results = self._handle_fn(data, context)
        if hasattr(results, "__await__"):
            return copy.copy(self)._later(results)  # other calls come before this one has its results
        return self._formatted(results)

    async def _later(self, results):
        return self._formatted(await results)

    def _formatted(self, results):
        return self.format_output(results) if results else results

    @abstractmethod
    def parse_input(self, data):
        """What the handler gets in place of the rows."""

    @abstractmethod
    def format_output(self, data):
        """One result per request from what the handler returned."""


def payload(row):
    """The part of a row that carries the request."""
    return row.get("data") or row.get("body")
