"""Texts for a model in a closed loop, for the scripts beside this one."""
import http.client
import threading
import time

from encoder_http import word


class Load:
    """Answers counted by when they came. words(n): how many a connection's n-th text has."""

    def __init__(self, server, words, connections, model="bert"):
        self.host = server.inference.removeprefix("http://")
        self.words, self.path = words, f"/predictions/{model}"
        self.came, self.bad, self.over = [], [], False
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(connections)]
        for t in self.threads:
            t.start()

    def run(self, seed):
        connection = http.client.HTTPConnection(self.host, timeout=30)
        at = seed * 7919
        while not self.over:
            at += 1
            text = " ".join(word((at * k) % 20000) for k in range(1, 1 + self.words(at)))
            try:
                connection.request("POST", self.path, text, {"content-type": "text/plain"})
                answer = connection.getresponse()
                body = answer.read()
                if answer.status != 200:
                    self.bad.append(f"{answer.status} {body[:100]!r}")
            except OSError as e:
                self.bad.append(repr(e))
                connection.close()
            self.came.append(time.monotonic())

    def rate(self, begin, end):
        return sum(begin <= t < end for t in self.came[-400000:]) / (end - begin)

    def rate_of_last(self, seconds):
        now = time.monotonic()
        return self.rate(now - seconds, now)

    def stop(self):
        self.over = True
        for t in self.threads:
            t.join()
