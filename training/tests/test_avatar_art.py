"""The built-in avatars: what is committed is what the code draws, and every keypoint lies on the figure."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "training"))
from odori_training.avatar_art import FIGURES, load_figure  # noqa: E402


@pytest.mark.parametrize("name", FIGURES)
def test_keypoints_lie_on_the_figure(name):
    sidecar = json.loads((ROOT / f"assets/avatars/{name}.json").read_text())
    png = (ROOT / f"assets/avatars/{name}.png").read_bytes()
    assert len(png) <= 700_000
    image = np.asarray(Image.open(io.BytesIO(png)))
    assert image.shape == (sidecar["height"], sidecar["width"], 4)
    names = [k["name"] for k in json.loads((ROOT / "models/skeleton.json").read_text())["keypoints"]]
    assert list(sidecar["keypoints"]) == names
    for key, (x, y) in sidecar["keypoints"].items():
        assert image[int(y), int(x), 3] >= 250, key
    for joint in ("eye", "shoulder", "elbow", "wrist", "hip", "knee", "ankle", "toe", "hand"):
        assert sidecar["keypoints"][f"left_{joint}"][0] > sidecar["keypoints"][f"right_{joint}"][0]


@pytest.mark.parametrize("name", FIGURES)
def test_the_figure_is_clear_of_the_edge_and_its_limbs_of_each_other(name):
    sidecar = json.loads((ROOT / f"assets/avatars/{name}.json").read_text())
    alpha = np.asarray(Image.open(ROOT / f"assets/avatars/{name}.png"))[..., 3]
    assert not alpha[:8].any() and not alpha[-8:].any() and not alpha[:, :8].any() and not alpha[:, -8:].any()
    points = {k: np.array(v) for k, v in sidecar["keypoints"].items()}
    knees = (points["left_knee"] + points["right_knee"]) / 2
    assert alpha[int(knees[1]), int(knees[0])] == 0  # between the legs
    across = np.linspace(points["left_wrist"], points["left_hip"], 200).astype(int)
    assert (alpha[across[:, 1], across[:, 0]] == 0).any()  # between arm and trunk


@pytest.mark.parametrize("name", FIGURES)
def test_a_back_has_the_fronts_outline_mirrored(name):
    front, back = (np.asarray(Image.open(ROOT / f"assets/avatars/{name}{side}.png"))[..., 3] > 127 for side in ("", "-back"))
    assert front.shape == back.shape
    assert (front[:, ::-1] & back).sum() > 0.95 * (front[:, ::-1] | back).sum()


@pytest.mark.parametrize("name", FIGURES)
def test_the_committed_files_are_what_the_code_draws(name):
    figure = load_figure(name)
    assert (ROOT / f"assets/avatars/{name}.svg").read_text() == figure.draw()
    assert (ROOT / f"assets/avatars/{name}-back.svg").read_text() == figure.draw_back()
    assert json.loads((ROOT / f"assets/avatars/{name}.json").read_text())["keypoints"] == figure.RIG.keypoints()
    assert json.loads((ROOT / f"assets/avatars/{name}.json").read_text())["face"] == figure.RIG.face()
