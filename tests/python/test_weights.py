"""How shared weights are dealt into blocks, and what counts as a write to them (ts/_runtime/weights.py); what is shared, and
what becomes of a handler that writes: tests/e2e/test_shared_weights.py and tests/device/shared_weights.py."""
import hashlib

import pytest

from ts._runtime import weights


class Region:
    def __init__(self, number, size):
        self.digest, self.size, self.at = hashlib.blake2b(b"%d" % number, digest_size=20).digest(), size, None


def dealt(sizes):
    return weights._blocks([Region(i, size) for i, size in enumerate(sizes)])


@pytest.mark.parametrize("sizes", [
    [weights.LEAST], [weights.LEAST + 1] * 500, [4 << 20] * 400, [100 << 20] * 3 + [1 << 20] * 64, [90 << 20] * 224 + [20000] * 900,
])
def test_blocks_are_few_and_regions_do_not_overlap(sizes):
    blocks = dealt(sizes)
    assert len(blocks) <= 2 * weights.UNITS
    assert sorted(r.size for _, _, regions in blocks for r in regions) == sorted(sizes)
    for digests, size, regions in blocks:
        end = 0
        for region in regions:
            assert region.at % 512 == 0 and region.at >= end
            end = region.at + region.size
        assert end <= size < end + 512
        assert digests == b"".join(r.digest for r in regions)


def test_order_decides_nothing_and_what_two_models_have_in_common_they_share():
    one = [Region(i, 5 << 20) for i in range(300)]
    names = {digests for digests, _, _ in weights._blocks(one)}
    assert {digests for digests, _, _ in weights._blocks(one[::-1])} == names
    other = one[1:] + [Region(1000, 5 << 20)]
    assert len(names & {digests for digests, _, _ in weights._blocks(other)}) >= len(names) - 2


class Tensor:
    _version = 0


def test_what_counts_as_a_write(monkeypatch):
    import weakref

    tensor = Tensor()
    illegal, refused = "CUDA error: an illegal memory access was encountered", "CUDA error: invalid argument"
    assert weights.wrote(illegal) is None and weights.wrote(refused) is None  # nothing is shared
    monkeypatch.setattr(weights, "_adopted", [(weakref.ref(tensor), 0, "Linear.weight")])
    assert weights.wrote("CUDA error: device-side assert triggered") is None
    assert weights.wrote(refused) == "by a copy"
    assert weights.wrote(illegal) == "something that PyTorch does not count"
    monkeypatch.setattr(weights, "faults_are_shared", lambda: True)
    assert weights.wrote(illegal) is None  # another client's fault comes to all
    tensor._version = 1
    assert weights.wrote(illegal) == "Linear.weight"
