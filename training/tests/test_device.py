"""The networks and their losses stay on one device: checked with fake tensors of a GPU, which none needs to have."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from odori_training import renderer_train, train_beat, train_motion, train_tokenizer  # noqa: E402
from odori_training.beat_model import POSITIONS, TEMPI, BeatNetwork, inputs  # noqa: E402
from odori_training.motion_model import MotionConfig, MotionTransformer, Tokenizer  # noqa: E402
from odori_training.renderer_model import Denoiser, DenoiserConfig  # noqa: E402


@pytest.fixture
def gpu():
    before = torch.get_default_device()
    with FakeTensorMode(allow_non_fake_inputs=True):
        torch.set_default_device("cuda")
        try:
            yield
        finally:
            torch.set_default_device(before)


def on_gpu(*tensors):
    assert all(t.device.type == "cuda" for t in tensors)


def test_the_beat_network(gpu):
    # Its recurrent layers are the library's own, which want a real GPU.
    x = inputs(torch.zeros(2, 480, 81))
    out = torch.zeros(2, 240, POSITIONS), torch.zeros(2, 240, TEMPI), torch.zeros(2, 240)
    parts = train_beat.losses(out, torch.zeros(2, 240), torch.full((2, 240), 120.0), torch.ones(2), train_beat.beginning(240))
    on_gpu(x, *parts, *BeatNetwork().parameters())


@pytest.mark.parametrize("size", train_motion.SIZES)
def test_the_pose_transformer(gpu, size):
    model = MotionTransformer(MotionConfig(**train_motion.SIZES[size]))
    t = 24
    batch = (torch.zeros(2, t, 10, dtype=torch.int32), torch.zeros(2, t, 10, dtype=torch.int32), torch.zeros(2, t, 324), torch.zeros(2, t, 8),
             torch.zeros(2, t, dtype=torch.int64), torch.zeros(2, t, 1), torch.zeros(2, 324), torch.zeros(2, 240, 10, dtype=torch.int32))  # fmt: skip
    x = train_motion.inputs_of(model, batch)
    h = train_motion.temporal(model, x, x["prev"])
    logits = model.depth(h.flatten(0, 1), x["tokens"].flatten(0, 1))
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), x["tokens"].flatten())
    on_gpu(loss, logits)


def test_the_tokenizer(gpu):
    model = Tokenizer()
    x = torch.zeros(2, 64, 162)
    latents = model.encode_latents(x)
    tokens, z, commit = train_tokenizer.quantise_for_training(model, latents)
    y = model.decode_latents(z.flatten(2))
    loss, *_ = train_tokenizer.loss_of(y, x, model, torch.ones(162))
    on_gpu(loss + commit, tokens)


@pytest.mark.parametrize("own", [False, True])
def test_the_denoiser(gpu, own):
    model = Denoiser(DenoiserConfig())
    b, f, h, w = 2, 4, 112, 64
    batch = {"reference": torch.zeros(b, 4, 128, 128), "truth": torch.zeros(b, f, 4, h, w), "warp": torch.zeros(b, f, 4, h, w), "validity": torch.zeros(b, f, 1, h, w),
             "kp": torch.zeros(b, f, 24, 4), "true_kp": torch.zeros(b, f, 24, 2), "ids": torch.zeros(b, f, 8, 10, dtype=torch.int64), "facing": torch.zeros(b, f, 18),
             "flow": torch.zeros(b, f, 2, h // 2, w // 2)}  # fmt: skip
    on_gpu(renderer_train.clip_loss(model, batch, own))
    on_gpu(renderer_train.rollout_loss(model, batch, np.random.default_rng(0)))


def test_the_slots_are_weighed_where_the_loss_is():
    model = MotionTransformer()
    h = torch.zeros(2, 6, model.cfg.width)
    x = {"tokens": torch.zeros(2, 6, 10, dtype=torch.int64)}
    loss, each, hit = train_motion.loss_of(model, x, h, 0.5, np.random.default_rng(0))
    assert loss.ndim == 0 and each.shape == (10,) and hit.shape == (10,)
    large = MotionTransformer(MotionConfig(**train_motion.SIZES["large"]))
    assert 40e6 < sum(p.numel() for p in large.parameters()) < 60e6
