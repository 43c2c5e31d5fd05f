"""Module-level entry points; nothing of a class, nothing of torch."""
loads = []


def handle(data, context):
    if data is None:
        loads.append(context.model_name)
        return None
    return [{"entry": "handle", "loads": loads, "rows": len(data)} for _ in data]


def infer(data, context):
    if data is None:
        loads.append(context.model_name)
        return None
    return [{"entry": "infer", "loads": loads, "rows": len(data)} for _ in data]
