"""Images as 784 bytes, one for each pixel; the answer is the digit's name and how sure the model is."""
import torch
from ts.torch_handler.base_handler import BaseHandler


class DigitHandler(BaseHandler):
    def preprocess(self, data):
        images = []
        for row in data:
            pixels = row.get("data") or row.get("body")
            if isinstance(pixels, list):
                image = torch.tensor(pixels, dtype=torch.float32)
            else:
                image = torch.frombuffer(bytearray(pixels), dtype=torch.uint8).float() / 255
            images.append(image.reshape(1, 28, 28))
        return torch.stack(images).to(self.device)

    def postprocess(self, data):
        best = data.exp().max(dim=1)
        return [{"digit": self.mapping[str(i)], "probability": round(p, 6)}
                for i, p in zip(best.indices.tolist(), best.values.tolist())]
