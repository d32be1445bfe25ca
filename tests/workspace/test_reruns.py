"""Reruns are reported by stage, with those that follow."""

import pytest

from dreamfusion_kit.workspace.reruns import describe

ASSETS = [f"asset_{index}" for index in range(8)]


@pytest.mark.parametrize(
    ("keys", "lines"),
    [
        ([], []),
        (["code.report"], ["report reruns"]),
        (["code.toybox"], []),
        (["code.refine"], []),
        (
            ["code.mesh"],
            [
                "mesh of every asset reruns",
                "then evaluate, score, report, where what they read has changed",
            ],
        ),
        (
            [f"assets.{key}" for key in ("asset_1.optimize", "asset_2.mesh", "asset_1.mesh")]
            + ["suite.report"],
            [
                "optimize of asset_1 reruns",
                "mesh of asset_2, asset_1 reruns",
                "report reruns",
                "then evaluate, score, where what they read has changed",
            ],
        ),
        (
            [f"assets.{asset}.evaluate" for asset in ASSETS[:7]],
            [
                "evaluate of asset_0, asset_1, asset_2, asset_3, asset_4 and 2 more reruns",
                "then score, report, where what they read has changed",
            ],
        ),
        (
            [f"assets.{asset}.evaluate" for asset in ASSETS],
            [
                "evaluate of every asset reruns",
                "then score, report, where what they read has changed",
            ],
        ),
        (
            ["recipes.toybox.fetch", "suite.clip"],
            [
                "fetch of toybox, clip reruns",
                "then embed, optimize, mesh, evaluate, score, report, where what they read has "
                "changed",
            ],
        ),
        (["code.scene"], ["scene reruns"]),
        (["scenes.report"], ["scene of report reruns"]),
        (["suite.pool", "suite.score", "suite.report"],
         ["evaluate of every asset reruns", "score reruns", "report reruns"]),
    ],
)  # fmt: skip
def test_the_stages_are_named_in_their_order(keys: list[str], lines: list[str]) -> None:
    assert describe(keys, ASSETS) == lines


def test_a_refinement_reruns_where_there_is_one() -> None:
    lines = ["refine of every asset reruns", "then evaluate, score, report, where what they read "
             "has changed"]  # fmt: skip
    assert describe(["code.refine"], ASSETS, refined=True) == lines
