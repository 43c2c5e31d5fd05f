"""Unit names as they are printed."""

UNITS = {
    "ms": "Milliseconds",
    "s": "Seconds",
    "percent": "Percent",
    "count": "Count",
    "MB": "Megabytes",
    "GB": "Gigabytes",
    "kB": "Kilobytes",
    "B": "Bytes",
    None: "unit",
    "": "unit",
}


class Units:
    """The table under the name that older code imports."""

    def __init__(self):
        self.units = dict(UNITS)


def printed(unit):
    """The printed name of a unit; a name that is not in the table is its own."""
    return UNITS.get(unit, unit)
