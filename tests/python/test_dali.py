"""DALI's handler comes near to what image_classifier says of the same JPEG. Needs torch, torchvision, Pillow and
nvidia-dali (with optree and nvidia-nvimgcodec), which decodes without a GPU, too."""
import io
import sys

import pytest

pytest.importorskip("torch")
numpy = pytest.importorskip("numpy")
pytest.importorskip("nvidia.dali", reason="not installed: nvidia-dali", exc_type=ImportError)

import builtin_scenarios as models  # noqa: E402
from ts.context import Context  # noqa: E402
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl  # noqa: E402


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "model.py").write_text(models.CLASSIFIER % 12)
    (tmp_path / "index_to_name.json").write_text(models.LABELS)

    def loaded(cls, dali=None):
        context = Context("m", str(tmp_path), {"model": {"modelFile": "model.py"}}, 4, None, "0.12.0",
                          metrics=MetricsCacheYamlImpl(None, declarations={}), model_yaml_config={"dali": dali} if dali else {})
        context.begin(("a",), ({},))
        handler = cls()
        handler.initialize(context)
        return handler, lambda *images: handler.handle([{"data": image} for image in images], context)

    yield loaded
    sys.modules.pop("model", None)


def jpeg():
    from PIL import Image

    rows, columns = numpy.mgrid[0:300, 0:400]
    picture = numpy.stack([columns * 255 // 400, rows * 255 // 300, columns * 0 + 128], axis=2).astype(numpy.uint8)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG")
    return bytearray(file.getvalue())


def test_jpegs_are_classified_as_by_pillow(load, tmp_path):
    image_classifier = pytest.importorskip("ts.torch_handler.image_classifier", exc_type=ImportError)
    from ts.torch_handler.dali_image_classifier import DALIImageClassifier

    settings = {"batch_size": 2, "num_threads": 2, "device_id": None, "seed": 1}
    handler, ask = load(DALIImageClassifier, settings)
    _, pillow = load(image_classifier.ImageClassifier)
    (answer,), (expected,) = ask(jpeg()), pillow(jpeg())
    assert answer == {label: pytest.approx(number, abs=0.01) for label, number in expected.items()}
    answer = {label: pytest.approx(number, rel=1e-5) for label, number in answer.items()}
    assert ask(jpeg(), jpeg()) == [answer, answer]

    for bad in ([bytearray(b"no image")], ["text"], [bytearray()], [jpeg()] * 3):
        with pytest.raises((RuntimeError, ValueError)):
            ask(*bad)
        assert ask(jpeg()) == [answer]

    handler.pipe.serialize(filename=str(tmp_path / "own.dali"))
    _, own = load(DALIImageClassifier, dict(settings, pipeline_file="own.dali"))
    assert own(jpeg()) == [answer]


@pytest.mark.parametrize("settings", [{"batch_size": 1}, {"batch_size": 1, "num_threads": 1, "pipeline_file": "missing"}])
def test_settings_that_lack_something(load, settings):
    from ts.torch_handler.dali_image_classifier import DALIImageClassifier

    with pytest.raises((ValueError, FileNotFoundError), match="num_threads|missing"):
        load(DALIImageClassifier, settings)
