"""Training pictures of the figure finder: parts and joints are bent and mirrored together, and parts are counted as told."""

import pytest

torch = pytest.importorskip("torch")

from odori_training import doodles  # noqa: E402
from odori_training.figure_model import PARTS, SIZE, FigureFinder  # noqa: E402
from odori_training.figure_train import NAMES, PART_SWAP, Named, batch  # noqa: E402


def data():
    """A figure of boxes: each arm a part, with its elbow in the middle."""
    picture = torch.zeros(1, SIZE, SIZE, 4, dtype=torch.uint8)
    parts = torch.zeros(1, SIZE, SIZE, dtype=torch.uint8)
    points = torch.full((1, len(NAMES), 2), 64.0)
    for part, x, low, high, joint in (("torso", 64, 40, 90, None), ("head", 64, 20, 40, "nose"), ("left_arm", 84, 44, 84, "left_elbow"), ("right_arm", 44, 44, 84, "right_elbow")):
        picture[:, low:high, x - 10 : x + 10] = 255
        parts[:, low:high, x - 10 : x + 10] = 1 + PARTS.index(part)
        if joint:
            points[0, NAMES.index(joint)] = torch.tensor([x, (low + high) / 2])
    points[0, NAMES.index("head_top")] = torch.tensor([64.0, 20.0])
    points[0, NAMES.index("left_ankle")], points[0, NAMES.index("right_ankle")] = torch.tensor([70.0, 100.0]), torch.tensor([58.0, 100.0])
    return tuple(z.expand(24, *z.shape[1:]) for z in (picture, points, torch.ones(1, len(NAMES)), torch.ones(1, dtype=torch.bool), parts, torch.full((1, 3), -1.0)))


@pytest.mark.parametrize("plain", [True, False])
def test_parts_stay_with_their_joints(plain):
    _, points, weights, alpha, parts = batch(data(), torch.Generator().manual_seed(3), n=24, plain=plain)
    assert parts.shape == (24, SIZE, SIZE) and alpha.shape == (24, 1, SIZE, SIZE)
    seen = 0
    for i in range(24):
        for joint, part in (("left_elbow", "left_arm"), ("right_elbow", "right_arm")):
            k = NAMES.index(joint)
            x, y = points[i, k].round().int().tolist()
            if weights[i, k] > 0:
                assert parts[i, y, x] == 1 + PARTS.index(part), f"{joint} of picture {i}"
                seen += 1
    assert seen > 40


def test_where_nobody_is_nothing_is_asked_but_the_silhouette(monkeypatch):
    monkeypatch.setattr("odori_training.figure_train.NOBODY", 1.0)
    picture, _, weights, alpha, parts = batch(data(), torch.Generator().manual_seed(3), n=24)
    assert not weights.any() and not alpha.any() and not parts.any()
    assert picture[:, 3].eq(0.5).all(), "alpha is not known, or there would be nothing to find out"
    assert picture[:, :3].std((1, 2, 3)).min() > 0, "there is a ground"


def test_sides_are_exchanged_in_pairs():
    assert PART_SWAP[PART_SWAP.int()].tolist() == list(range(len(PARTS) + 1))
    assert PART_SWAP[1 + PARTS.index("left_leg")] == 1 + PARTS.index("right_leg")
    assert PART_SWAP[1 + PARTS.index("skirt")] == 1 + PARTS.index("skirt")


def test_parts_are_counted_where_both_are_known_and_skirts_to_the_torso():
    named = Named()
    torso, head, hair, skirt = (1 + PARTS.index(n) for n in ("torso", "head", "hair", "skirt"))
    named.add(torch.tensor([torso, torso, head, 0, hair]), torch.tensor([torso, skirt, hair, head, hair]))
    told = named.told("it")
    assert told["it_right"] == 0.75
    assert told["it_hair_iou"] == 0.5


def test_the_network_tells_every_part_of_every_pixel():
    heat, mask, parts = FigureFinder()(torch.zeros(1, 4, SIZE, SIZE))
    assert heat.shape == (1, len(NAMES), 32, 32) and mask.shape == (1, 1, SIZE, SIZE) and parts.shape == (1, len(PARTS), SIZE, SIZE)


def test_a_drawing_has_its_joints_on_its_parts():
    pictures, points, _, _, parts, _ = doodles.make(40, 3)
    near = total = 0
    for i in range(40):
        assert (parts[i] > 0).equal(pictures[i, ..., 3] > 127), "what is drawn is a part of the body, and nothing else is"
        for joint, part in (("nose", "head"), ("left_elbow", "left_arm"), ("right_elbow", "right_arm"), ("left_knee", "left_leg"), ("right_knee", "right_leg")):
            x, y = points[i, NAMES.index(joint)].round().int().tolist()
            near += int((parts[i, y - 2 : y + 3, x - 2 : x + 3] == 1 + PARTS.index(part)).any())
            total += 1
    assert near > 0.85 * total, "arms and skirts may hide a joint, not more"


def test_a_drawing_may_lie_on_its_own_paper():
    made = doodles.make(96, 4)
    picture, _, _, alpha, _ = batch(made, torch.Generator().manual_seed(3), n=96, plain=True)
    unknown = picture[:, 3].std((1, 2)) < 1e-6
    # Paper is smooth where it is empty; other grounds mostly are not.
    corner = picture[:, :3, :16, :16].std((1, 2, 3))
    assert 0.25 < (corner[unknown] < 0.12).float().mean() and alpha[unknown].mean() > 0.02
