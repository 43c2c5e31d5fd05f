"""Text of a whole batch while Transformers generates it. Needs the package transformers."""
from queue import Queue

from transformers.generation.streamers import BaseStreamer


class _Stream:
    """One row of the batch: turns its tokens into text, word by word."""

    def __init__(self, tokenizer, decode_kwargs):
        self.tokenizer = tokenizer
        self.decode_kwargs = decode_kwargs
        self.tokens = []
        self.shown = 0

    def put(self, tokens):
        """The text that has become certain."""
        self.tokens.extend(tokens)
        text = self.tokenizer.decode(self.tokens, **self.decode_kwargs)
        if text.endswith("\n"):
            # A line's end stands for ever: begin anew, so that decoding stays short.
            part = text[self.shown:]
            self.tokens, self.shown = [], 0
            return part
        if text and _is_ideograph(ord(text[-1])):
            end = len(text)
        else:
            end = text.rfind(" ") + 1
        part = text[self.shown:max(end, self.shown)]
        self.shown += len(part)
        return part

    def end(self):
        """The rest."""
        text = self.tokenizer.decode(self.tokens, **self.decode_kwargs) if self.tokens else ""
        part = text[self.shown:]
        self.tokens, self.shown = [], 0
        return part


def _is_ideograph(point):
    """Scripts without blanks: each sign can be shown at once."""
    ranges = ((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2EBEF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F))
    return any(first <= point <= last for first, last in ranges)


class TextIteratorStreamerBatch(BaseStreamer):
    """Given to `generate` as its streamer; iterating yields `[{"text": …}, …]`, one per row of the batch, until a row
    ends. `timeout` seconds without text raise queue.Empty."""

    def __init__(self, tokenizer, batch_size, skip_prompt=False, timeout=None, **decode_kwargs):
        self.batch_size = batch_size
        self.skip_prompt = skip_prompt
        self.timeout = timeout
        self.prompt_pending = True
        self.streams = [_Stream(tokenizer, decode_kwargs) for _ in range(batch_size)]
        self.text_queues = [Queue() for _ in range(batch_size)]
        self.stop_signal = None

    def put(self, value):
        """Takes new tokens, first dimension the batch."""
        rows = [value] if getattr(value, "ndim", 2) == 1 and self.batch_size == 1 and len(value) != 1 else value
        if len(rows) != self.batch_size:
            raise ValueError("TextIteratorStreamerBatch expects a batch of %d, got %d" % (self.batch_size, len(rows)))
        if self.skip_prompt and self.prompt_pending:
            self.prompt_pending = False
            return
        self.prompt_pending = False
        for queue, stream, row in zip(self.text_queues, self.streams, rows):
            tokens = row.tolist() if hasattr(row, "tolist") else row
            queue.put(stream.put(tokens if isinstance(tokens, list) else [tokens]))

    def end(self):
        """Passes on what is left and ends the iteration."""
        self.prompt_pending = True
        for queue, stream in zip(self.text_queues, self.streams):
            queue.put(stream.end())
            queue.put(self.stop_signal)

    def __iter__(self):
        return self

    def __next__(self):
        texts = [queue.get(timeout=self.timeout) for queue in self.text_queues]
        if any(text is self.stop_signal for text in texts):
            raise StopIteration
        return [{"text": text} for text in texts]
