"""A name and a value that tell one series of a metric from another."""


class Dimension:
    """`str()` is `name:value`."""

    def __init__(self, name, value):
        self.name = name
        self.value = value

    def __str__(self):
        return "%s:%s" % (self.name, self.value)

    def to_dict(self):
        return {"Name": self.name, "Value": self.value}
