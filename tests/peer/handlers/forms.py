"""The metrics API in all its forms; the header x-do names the one, the answer says what was raised."""
from ts.metrics.dimension import Dimension
from ts.metrics.metric_type_enum import MetricTypes


class Forms:
    def initialize(self, context):
        context.metrics.add_counter("AtLoad", 1)

    def handle(self, data, context):
        self.metrics, self.ids = context.metrics, context.request_ids
        try:
            said = getattr(self, "do_" + context.get_request_header(0, "x-do"))(len(data))
        except Exception as e:
            said = f"{type(e).__module__}.{type(e).__name__}: {e}"
        return [said or "done"] * len(data)

    def do_dimensions(self, _):
        given = [Dimension("Colour", "red"), Dimension("Size", "2")]
        self.metrics.add_counter("Dims", 1, None, given)
        return ", ".join(map(str, given))

    def do_index(self, n):
        for i in range(n):
            self.metrics.add_counter(f"Of{i}", i, i)

    def do_bad_index(self, _):
        self.metrics.add_counter("BadIndex", 1, 9)

    def do_named(self, _):
        self.metrics.add_metric(name="Named", value=1.25, unit="percent", idx="0", dimensions=[Dimension("A", "b")],
                                metric_type=MetricTypes.HISTOGRAM)

    def do_types(self, _):
        for kind in MetricTypes:
            self.metrics.add_metric("Typed" + kind.name.title(), 2, "ms", metric_type=kind)

    def do_units(self, _):
        for unit in ("ms", "s", "percent", "count", "MB", "GB", "kB", "B", "parsecs", "", None):
            self.metrics.add_metric(f"Unit{unit}", 1, unit)

    def do_time(self, _):
        for unit in ("ms", "s"):
            self.metrics.add_time(f"Time{unit}", 1, None, unit)

    def do_size(self, _):
        for unit in ("MB", "kB", "GB", "B"):
            self.metrics.add_size(f"Size{unit}", 1, None, unit)

    def do_error(self, _):
        self.metrics.add_error("Wrong", "a text")

    def do_error_dimensions(self, _):
        self.metrics.add_error("WrongDims", 3, [Dimension("Where", "here")])

    def do_cached(self, _):
        metric = self.metrics.add_metric_to_cache("Cached", "count", ["One", "Two"], MetricTypes.GAUGE)
        metric.add_or_update(5, ["1", "2"])
        metric.add_or_update(6, ["1", "2"], "an-id")
        return type(metric).__name__

    def do_cached_wrong_number(self, _):
        self.metrics.add_metric_to_cache("Wrongly", "count", ["One"]).add_or_update(5, ["1", "2"])

    def do_cached_negative(self, _):
        self.metrics.add_metric_to_cache("Negative", "count", []).add_or_update(-5, [])

    def do_cached_update(self, _):
        metric = self.metrics.add_metric_to_cache("Updated", "ms", ["One"], MetricTypes.GAUGE)
        metric.update(7, "some-id", [Dimension("Other", "x")])

    def do_get(self, _):
        self.metrics.add_metric_to_cache("Got", "count", ["One"])
        self.metrics.get_metric("Got").add_or_update(1, ["1"])
        self.metrics.get_metric("Got", MetricTypes.COUNTER).add_or_update(2, ["1"])

    def do_get_other_type(self, _):
        self.metrics.add_metric_to_cache("Other", "count", ["One"])
        self.metrics.get_metric("Other", MetricTypes.GAUGE)

    def do_get_declared(self, _):
        return type(self.metrics.get_metric("HandlerTime", MetricTypes.GAUGE)).__name__

    def do_negative_counter(self, _):
        self.metrics.add_counter("Less", -1)

    def do_name(self, _):
        self.metrics.add_metric_to_cache(5, "count")

    def do_unit(self, _):
        self.metrics.add_metric_to_cache("X", 5)

    def do_type(self, _):
        self.metrics.add_metric_to_cache("X", "count", [], "counter")

    def do_names(self, _):
        self.metrics.add_metric_to_cache("X", "count", [5])

    def do_time_unit(self, _):
        self.metrics.add_time("X", 1, None, "MB")

    def do_size_unit(self, _):
        self.metrics.add_size("X", 1, None, "ms")

    def do_legacy_metric(self, _):
        from ts.metrics.metric import Metric
        return str(Metric("Old", 3, "ms", "an-id", [Dimension("Level", "Model")], MetricTypes.GAUGE))

    def do_emit(self, _):
        from ts.metrics.metrics_store import MetricsStore
        from ts.service import emit_metrics
        store = MetricsStore(self.ids, "forms")
        store.add_counter("Stored", 4)
        store.add_time("StoredTime", 2.5)
        emit_metrics(store.store)
