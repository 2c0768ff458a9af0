"""Fast checks of the motion training code; no data needed. Run with `python -m pytest training/tests`."""

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from odori_training import choreo, clips, features, mocap, phrases  # noqa: E402
from odori_training import skeleton as sk  # noqa: E402
from odori_training.eval_motion import f_score, shuffled_control  # noqa: E402
from odori_training.motion_model import MotionConfig, MotionTransformer  # noqa: E402
from odori_training.motion_step import check  # noqa: E402


def idle():
    return mocap.idle_clips(np.random.default_rng(0), count=1, seconds=6)[0][1]


def test_features_decode_to_what_was_encoded():
    x = idle()
    root, local, contacts, confidences, curls = sk.decode(x)
    assert np.abs(sk.encode(root, local, contacts, confidences, curls) - x).max() < 1e-4


def test_torch_and_numpy_kinematics_agree():
    x = idle()
    torch_positions = sk.positions_torch(torch.from_numpy(x)).numpy()
    assert np.abs(torch_positions - sk.positions(x)[:, sk.BODY]).max() < 1e-4


def test_mirror_is_its_own_inverse_and_moves_left_to_right():
    x = idle()
    assert np.abs(sk.mirror(sk.mirror(x)) - x).max() < 1e-6
    left, right = sk.positions(x)[:, sk.INDEX["leftHand"]], sk.positions(sk.mirror(x))[:, sk.INDEX["rightHand"]]
    assert np.abs(left * [-1, 1, 1] - right).max() < 1e-4


def test_idle_feet_stand_on_the_ground_and_still():
    p = sk.positions(idle())[:, [sk.INDEX["leftToes"], sk.INDEX["rightToes"]]]
    assert np.abs(p[..., 1]).max() < 0.06
    assert np.abs(p - p[:1]).max() < 0.01


def test_features_hear_no_future():
    audio = np.random.default_rng(1).standard_normal(12_000).astype(np.float32) * 0.1
    whole = features.extract(audio)
    assert np.abs(features.extract(audio[:8_000]) - whole[:20]).max() < 1e-5
    assert whole.shape == (30, 81)


def test_beat_vector_of_an_unsure_clock_is_zero():
    v = features.beat_vector(np.array([0.25, 0.25]), np.array([0.0, 0.0]), 120.0, np.array([0.9, 0.01]))
    assert np.allclose(v[0], [1, 0, 0, 1, 0, -1, 1, 0.9], atol=1e-6) and not v[1].any()


def test_choreography_lands_on_the_beat():
    one = idle()
    moves = np.concatenate([one, sk.mirror(one)])
    style = mocap.STYLES.index("calm")
    library = clips.Clips(moves, np.array([0, len(one), 2 * len(one)]), np.array([style] * 2), np.zeros(2, bool), np.array([False, True]), ["a", "b"], mocap.STYLES)
    beats = np.arange(0, 20, 0.5)
    x, _ = choreo.choreograph(np.random.default_rng(0), phrases.Library.build(library, False), beats, 18, np.full(len(beats), 0.6), "club")
    found = phrases.kinematic_beats(phrases.joint_speed(phrases.body_positions(x))) / 30
    assert f_score(found, beats[beats < 18])[0] > 0.8
    assert shuffled_control(found, beats[beats < 18], 18) < 0.45


def test_one_step_at_a_time_equals_the_whole():
    torch.manual_seed(0)
    model = MotionTransformer(MotionConfig(width=48, heads=2, layers=2, cross_layers=(1,), window=12, music_window=5, codes=32, latent=8, depth_width=16, depth_heads=2))
    with torch.no_grad():
        model.codes.normal_()
        model.layers[1].cross.inner.o.weight.normal_(0, 0.1)
    assert check(model, steps=30) < 1e-4


def test_captures_with_a_head_upside_down_are_turned_over():
    from scipy.spatial.transform import Rotation

    looks = Rotation.from_euler("YXZ", [0.3, -0.4, 0.1])
    rolled = Rotation.from_euler("z", np.linspace(0, np.pi, 50)[:, None])
    given = (looks * rolled).as_matrix()
    made = mocap.upright(given, mocap.FARTHEST_HEAD_RAD)
    assert np.allclose(made[-1], looks.as_matrix(), atol=1e-6), "rolled by half a turn it looks where it looked"
    assert np.allclose(made[:10], given[:10], atol=1e-6), "what bodies do is left alone"
    assert made[:, 1, 1].min() > 0.4
    turns = Rotation.from_matrix(made)
    assert (turns[:-1].inv() * turns[1:]).magnitude().max() < 0.1, "no jump between"
    back = mocap.upright(Rotation.from_euler("y", [[2.8]]).as_matrix(), mocap.FARTHEST_HEAD_RAD)
    assert back[0, 2, 2] > 0.2, "nobody looks back over the own spine"


def test_a_take_whose_head_markers_sit_askew_looks_ahead():
    from scipy.spatial.transform import Rotation

    from odori_training import skeleton as sk

    n = 200
    t = np.arange(n) / 30
    local = np.tile(np.eye(3), (n, len(sk.INDEX), 1, 1))
    local[:, sk.INDEX["hips"]] = sk.rot_y(0.5 * t)  # a dancer who turns all the while
    nods = Rotation.from_euler("YXZ", np.stack([0.6 * np.sin(t), 0.3 * np.sin(2 * t), 0 * t], -1))
    local[:, sk.INDEX["head"]] = (nods * Rotation.from_euler("xz", [0.7, 0.2])).as_matrix()
    mocap.level(local)
    _, world = sk.forward(np.zeros((n, 3)), local)
    down = np.degrees(np.arcsin(-world[:, sk.INDEX["head"]][:, 1, 2]))
    assert abs(down.mean()) < 3, "ahead on average"
    assert np.ptp(down) > 25, "and still nods"
    turned = np.degrees(np.linalg.norm((Rotation.from_matrix(local[:, sk.INDEX["head"]]).inv() * nods).as_rotvec(), axis=-1))
    assert turned.max() < 10, "what the dancer did is left"


def test_a_take_is_cut_where_nobody_dances():
    from odori_training import skeleton as sk

    t = np.arange(300) / 30
    pos = np.tile(np.zeros(3), (300, len(sk.INDEX), 1))
    pos[..., 0] = (0.3 * np.sin(6 * t) * (t > 4))[:, None]
    waits = mocap.waits(pos)
    assert waits[: 3 * 30].all() and not waits[5 * 30 :].any()
