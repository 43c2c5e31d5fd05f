"""Models and requests for the built-in handlers; the form of a scenario is that of scenarios.py.

Weights are a formula and images are written byte by byte, so that every run anywhere asks the same.
"""
import base64
import json
import struct
import zlib

from scenarios import MANIFEST, request

WEIGHTS = """        with torch.no_grad():
            for place, parameter in enumerate(self.parameters()):
                wave = torch.sin(torch.arange(parameter.numel(), dtype=torch.float32) * (0.37 + 0.11 * place))
                parameter.copy_(0.5 * wave.reshape(parameter.shape))
"""
CLASSIFIER = """import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3, stride=2)
        self.out = torch.nn.Linear(4, %d)
""" + WEIGHTS + """
    def forward(self, x):
        return self.out(torch.relu(self.conv(x)).mean(dim=[2, 3]))
"""
RESNET = """import torch
from torchvision.models.resnet import BasicBlock, ResNet


class Net(ResNet):
    def __init__(self):
        super().__init__(BasicBlock, [2, 2, 2, 2], num_classes=12)
""" + WEIGHTS.replace("0.5 *", "0.05 *")
SEGMENTER = """import torch
from typing import Dict


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 5, 1)
""" + WEIGHTS + """
    def forward(self, x) -> Dict[str, torch.Tensor]:
        return {"out": self.conv(x)}
"""
DETECTOR = """import torch
from typing import Dict, List


class Net(torch.nn.Module):
    def forward(self, x) -> List[Dict[str, torch.Tensor]]:
        found: List[Dict[str, torch.Tensor]] = []
        for image in x:
            mean = image.mean(dim=[1, 2])
            boxes = torch.stack([mean.mean() * 100 + torch.arange(4), mean.mean() * 10 + torch.arange(4), mean[0] + torch.arange(4)])
            found.append({"boxes": boxes, "labels": torch.tensor([3, 1, 3]), "scores": torch.tensor([0.9, 0.5, 0.25])})
        return found
"""
TEXT = """import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.EmbeddingBag(20, 6)
        self.out = torch.nn.Linear(6, 3)
""" + WEIGHTS + """
    def forward(self, text, offsets):
        return self.out(self.embedding(text, offsets))
"""
TENSOR = """import torch


class Net(torch.nn.Module):
    def forward(self, x):
        return x * 2 + 1
"""
VOCABULARY = "it is not good bad the film was would".split() + ["it is", "is not", "not good", "good the", "the film", "film was", "was bad"]
SAVE_WORDS = "import torch\ntorch.save({word: place + 1 for place, word in enumerate(%r)}, %%r)\n" % (VOCABULARY,)
SAVE_SCRIPT = "import torch\nfrom model import Net\ntorch.jit.script(Net().eval()).save('m.pt')\n"
LABELS = json.dumps({str(number): "label-%d" % number for number in range(12)})


def png(width, height, kind="RGB", cut=None, claimed=None):
    """A PNG file with a pattern in it; `cut`: only so many bytes of it; `claimed`: another size in its head."""
    channels, colour = {"L": (1, 0), "RGB": (3, 2), "P": (1, 3), "LA": (2, 4), "RGBA": (4, 6)}[kind]
    lines = b"".join(
        b"\0" + bytes((7 * x + 13 * y + 50 * c) % 256 for x in range(width) for c in range(channels)) for y in range(height))

    def chunk(name, data):
        return struct.pack("!I", len(data)) + name + data + struct.pack("!I", zlib.crc32(name + data))

    head = struct.pack("!IIBBBBB", *(claimed or (width, height)), 8, colour, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(range(256)) * 3) if kind == "P" else b""
    file = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + palette + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return file[:cut]


PICTURE = png(40, 30)
OTHER = png(64, 64)
EXPLAIN = {"explain": "True"}


def case(name, handler, model, *batches, script=False, more=None, prepare="", config=None, entry=None, own=None, **settings):
    """A scenario whose model is the source of a model file, loaded as it is or as TorchScript; `own`: a handler's source."""
    entry = dict(entry or {})
    files = {"index_to_name.json": LABELS} if handler in ("image_classifier", "object_detector", "text_classifier") else {}
    if model is not None:
        files["model.py"] = model
        entry["serializedFile" if script else "modelFile"] = "m.pt" if script else "model.py"
    if config is not None:
        files["c.yaml"] = config
        entry["configFile"] = "c.yaml"
    if own is not None:
        files["handler.py"] = own
        handler = "handler.py"
    files["MAR-INF/MANIFEST.json"] = MANIFEST % "".join(', "%s": "%s"' % pair for pair in entry.items())
    files.update(more or {})
    files = {file: text for file, text in files.items() if text is not None}
    return dict(name=name, handler=handler, files=files, prepare=(SAVE_SCRIPT if script else "") + prepare,
                batches=[list(batch) for batch in batches], **settings)


def classifier():
    one = [request(data=PICTURE)]
    small = ("application/json", json.dumps([[[0.5, 0.25, 1], [1, 2, 3], [4, 5, 6]]] * 3).encode())
    twelve = CLASSIFIER % 12

    def images(name, *batches, model=twelve, **settings):
        return case("classifier-" + name, "image_classifier", model, *batches, **settings)

    own = "from ts.torch_handler.image_classifier import ImageClassifier\n\nclass H(ImageClassifier):\n"
    return [
        images("eager", one, [request(body=OTHER)], [request("a", data=PICTURE), request("b", body=OTHER)]),
        images("script", one, [request("a", data=PICTURE), request("b", body=OTHER)], script=True),
        images("resnet", one, model=RESNET),
        images("no-labels", one, more={"index_to_name.json": None}),
        images("label-missing", one, more={"index_to_name.json": '{"0": "zero"}'}),
        images("base64", [request(body=("text/plain", base64.b64encode(PICTURE)))]),
        images("base64-bad", [request(body=("text/plain", b"***"))], [request(body=("text/plain", b"QUJD"))]),
        images("numbers", [request(body=small)], [request("a", body=small), request("b", data=small)]),
        images("numbers-bad", [request(body=("application/json", b"[[1], [2, 3]]"))],
               [request(body=("application/json", b'{"a": 1}'))], [request(body=("application/json", b"3"))]),
        images("mixed-shapes", [request("a", body=small), request("b", body=PICTURE)]),
        images("kinds", [request(body=png(40, 30, "L"))], [request(body=png(40, 30, "P"))],
               [request(body=png(40, 30, "RGBA"))], [request(body=png(40, 30, "LA"))]),
        images("broken", [request(body=b"no image at all")], [request(body=png(40, 30, cut=20))],
               [request(body=png(40, 30, cut=200))], [request(body=b"")], [request()], [request(other=PICTURE)]),
        images("one-broken", [request("a", body=PICTURE), request("b", body=b"broken")], one),
        images("bomb", [request(body=png(4, 4, claimed=(20000, 20000)))], one),
        images("bomb-allowed", [request(body=png(4, 4, claimed=(200000, 200000), cut=60))], one, limit_pixels=False),
        images("limit", one, own=own + "    def handle(self, data, context):\n"
               "        from PIL import Image\n        return [str(Image.MAX_IMAGE_PIXELS)]\n"),
        images("limit-off", one, limit_pixels=False, own=own + "    def handle(self, data, context):\n"
               "        from PIL import Image\n        return [str(Image.MAX_IMAGE_PIXELS)]\n"),
        images("few-classes", one, model=CLASSIFIER % 3),
        images("top", one, own=own + "    def initialize(self, context):\n        super().initialize(context)\n"
               "        self.set_max_result_classes(self.get_max_result_classes() - 3)\n"),
        images("own-processing", one, own=own + "    image_processing = staticmethod(lambda image: __import__('torch').ones(3, 9, 9) "
               "* image.size[0])\n    topk = 1\n    def __init__(self):\n        pass\n"),
        images("own-post", one, own=own + "    def postprocess(self, data):\n        return [sorted(super().postprocess(data)[0])]\n"),
        images("explain", [request(headers=EXPLAIN, body=small)], [request(headers=EXPLAIN, body=small, target=("application/json", b"4"))],
               [request("a", EXPLAIN, body=small), request("b", body=small)], own=own + "    pass\n"),
        images("explain-image", [request(headers=EXPLAIN, data=PICTURE)]),
        images("explain-script", [request(headers=EXPLAIN, body=small)], script=True),
        images("explain-target", [request(headers=EXPLAIN, body=small, target=("application/json", b"99"))],
               [request(headers=EXPLAIN, body=small, target=b"x")], one),
        images("describe", [request(headers={"describe": "True"})]),
        images("timed", one, config="handler: {profile: true}\n"),
        images("envelope-body", one, envelope="body"),
        images("envelope-json", [request(body=("application/json", json.dumps(
            {"instances": [{"data": {"b64": base64.b64encode(PICTURE).decode()}}]}).encode()))],
            [request(body=("application/json", json.dumps({"instances": [{"b64": base64.b64encode(PICTURE).decode()}]}).encode()))],
            envelope="json"),
        images("no-model", one, model=None),
    ]


def others():
    one, two = [request(data=PICTURE)], [request("a", data=PICTURE), request("b", body=OTHER)]
    same = [request("a", data=PICTURE), request("b", body=PICTURE)]
    half = "from ts.torch_handler.object_detector import ObjectDetector\n\nclass H(ObjectDetector):\n    threshold = 0.2\n"
    good = "It isn't <b>good</b>: the film!"
    words = SAVE_WORDS % "source_vocab.pt"

    def text(name, *batches, prepare=words, model=TEXT, **settings):
        return case("text-" + name, "text_classifier", model, *batches, prepare=prepare, **settings)

    def tensor(name, *batches, **settings):
        # TorchServe's wants a file of weights also where a model file is given.
        if not settings.get("script"):
            settings.update(prepare="import torch\ntorch.save({}, 'w.pt')\n", entry={"serializedFile": "w.pt"})
        return case("densenet-" + name, "densenet_handler", TENSOR, *batches, **settings)

    told = [request(body=good.encode())]
    saved = request(data=bytes.fromhex(SAVED))
    return [
        case("segmenter-eager", "image_segmenter", SEGMENTER, one, two),
        case("segmenter-script", "image_segmenter", SEGMENTER, one, script=True),
        case("segmenter-broken", "image_segmenter", SEGMENTER, [request(body=b"x")]),
        case("detector-eager", "object_detector", DETECTOR, one, same),
        case("detector-script", "object_detector", DETECTOR, one, script=True),
        case("detector-sizes", "object_detector", DETECTOR, two),
        case("detector-threshold", "object_detector", DETECTOR, one, own=half, more={"index_to_name.json": None}),
        case("detector-label-missing", "object_detector", DETECTOR, one, more={"index_to_name.json": '{"1": "x"}'}),
        text("eager", told, [request(data=("text/plain", good.encode()))], [request(body=("application/json", b'"the film was bad"'))]),
        text("script", told, script=True),
        text("no-labels", told, more={"index_to_name.json": None}),
        text("bad", [request(body=b"\xff\xfe")], [request(body=b"")], [request(body=b"unheard of")],
             [request(body=("application/json", b'{"a": 1}'))], [request(body=b"<p>")], told),
        text("two", [request("a", body=b"the film"), request("b", body=b"bad")]),
        text("accents", [request(body="th\u00e9 f\u00eelm was\u4e16 B\u00c4D".encode())]),
        text("vocabulary-named", told, prepare=SAVE_WORDS % "words.pt", entry={"sourceVocab": "words.pt"}),
        text("vocabulary-missing", told, prepare=""),
        text("no-embedding", told, model=TEXT.replace("embedding", "words")),
        text("explain", [request(headers=EXPLAIN, body=good.encode())],
             [request(headers=EXPLAIN, body=b"the film", target=("application/json", b"2"))]),
        text("timed", told, config="handler: {profile: true}\n"),
        tensor("eager", [saved]),
        tensor("script", [saved], script=True),
        tensor("two", [saved, dict(saved, id="b")]),
        tensor("bad", [request(body=b"x")], [request(body=b"")], [saved]),
    ]


# torch.save(torch.arange(6.).reshape(2, 3)), in torch's old form, which is short.
SAVED = (
    "80028a0a6cfc9c46f9206aa850192e80024de9032e80027d710028581000000070726f746f636f6c5f76657273696f6e71014de903580d000000"
    "6c6974746c655f656e6469616e710288580a000000747970655f73697a657371037d710428580500000073686f727471054b025803000000696e"
    "7471064b0458040000006c6f6e6771074b0475752e800263746f7263682e5f7574696c730a5f72656275696c645f74656e736f725f76320a7100"
    "2828580700000073746f72616765710163746f7263680a466c6f617453746f726167650a71025809000000323035323331353532710358030000"
    "0063707571044b064e747105514b004b024b038671064b034b018671078963636f6c6c656374696f6e730a4f726465726564446963740a710829"
    "52710974710a52710b2e80025d710058090000003230353233313535327101612e0600000000000000000000000000803f000000400000404000"
    "0080400000a040"
)


def everything():
    return classifier() + others()
