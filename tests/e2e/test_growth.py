"""A short form of bench/soak.py: nothing grows with the number of requests, and the check would notice if it did."""
import sys

import pytest
from harness import ROOT, sanitized

sys.path.insert(0, str(ROOT / "bench"))
import soak  # noqa: E402


pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(sanitized(), reason="memory under AddressSanitizer grows by itself; it looks for leaks at the end"),
]


def test_nothing_grows_over_identity_requests(build):
    _, found = soak.identity(200_000)
    assert found == []


def test_nothing_grows_over_encoder_requests(build):
    model = soak.demo_model()
    if model is None or not (build / "libsconce_encoder.so").exists():
        pytest.skip("no encoder or no model for it")
    _, found = soak.encoder(model, 5_000)
    assert found == []


def test_nothing_grows_over_models_that_come_and_go(build):
    _, found = soak.models(750)  # by hand 10,000: bench/soak.py
    assert found == []


def test_a_leak_of_64_bytes_a_request_is_found(build):
    if not (build / "libsconce_faulty.so").exists():
        pytest.skip("the backend that misbehaves is not built")
    _, found = soak.planted(40_000, 64)
    assert any("executor" in f and "memory" in f for f in found), found


def test_a_descriptor_too_many_is_found():
    before = ({"frontend": (1 << 20, 20)}, 1 << 20)
    assert soak.grown(before, before, 1000) == []
    assert soak.grown(before, ({"frontend": (1 << 20, 21)}, 1 << 20), 1000) == ["frontend: 1 more descriptors"]
    assert "shared memory" in soak.grown(before, ({"frontend": (1 << 20, 20)}, 9 << 20), 1000)[0]


def test_a_block_lost_in_every_request_is_found():
    before = ({"frontend": (1 << 20, 20)}, 1 << 20)
    requests, block = 200_000, 256
    after = ({"frontend": (1 << 20, 20)}, (1 << 20) + requests * block)
    assert "shared memory" in soak.grown(before, after, requests, soak.LARGE_BYTES)[0]
    assert soak.grown(before, ({"frontend": (1 << 20, 20)}, 9 << 20), requests, soak.LARGE_BYTES) == []
