import numpy as np
import torch
import trimesh

from dreamfusion_kit.shape.adjacency import shared_edges


def test_pairs_are_trimeshs() -> None:
    mesh = trimesh.creation.torus(0.5, 0.2, major_sections=9, minor_sections=7)
    edges = shared_edges(torch.tensor(np.array(mesh.faces)))
    found = {
        (tuple(sorted(ends)), tuple(sorted(pair)))
        for ends, pair in zip(edges.ends.tolist(), edges.faces.tolist(), strict=True)
    }
    expected = {
        (tuple(sorted(ends)), tuple(sorted(pair)))
        for ends, pair in zip(
            mesh.face_adjacency_edges.tolist(), mesh.face_adjacency.tolist(), strict=True
        )
    }
    assert found == expected


def test_edges_of_one_face_or_of_three_are_left_out() -> None:
    faces = torch.tensor([[0, 1, 2], [1, 0, 3], [0, 1, 4]])
    assert len(shared_edges(faces).ends) == 0
    assert shared_edges(faces[:2]).ends.tolist() == [[0, 1]]
    assert len(shared_edges(faces[:0]).ends) == 0
